"""What is imported when: the command line starts at once, and who only plans and hands out work
waits for no torch."""

import subprocess
import sys
from pathlib import Path

import pytest

REPO_ROOT = Path(__file__).resolve().parents[2]
COMPUTES = {"torch", "matplotlib", "sacrebleu", "pandas", "duckdb"}
DRIVER = (
    "flows.generate",
    "flows.nightly",
    "flows.backfill",
    "flows.train",
    "flows.server.deployments",
    "workers.generation.pool",
)


@pytest.mark.parametrize(
    ("modules", "unwanted"),
    [(DRIVER, COMPUTES), (("flows.cli.app",), COMPUTES | {"prefect", "ray", "boto3"})],
    ids=["driver", "command line"],
)
def test_only_what_is_needed_is_imported(modules: tuple[str, ...], unwanted: set[str]) -> None:
    code = f"import sys, {', '.join(modules)}; print(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO_ROOT, check=True, capture_output=True, text=True
    )
    assert not unwanted & set(done.stdout.split())
