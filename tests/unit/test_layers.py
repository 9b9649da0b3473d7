"""The layers: arrows never go up, and each outside library has its home."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO_ROOT = Path(__file__).resolve().parents[2]
MAY_IMPORT = {
    "infra": set(),
    "aigc_models": set(),
    "workers": {"aigc_models", "infra"},
    "flows": {"workers", "aigc_models", "infra"},
}
HOMES = {"ray": ("workers/", "infra/local/"), "prefect": ("flows/",)}
COMPANIONS_OF_TORCH = {"torch", "numpy", "safetensors", "tokenizers", "sacrebleu", "tensorboard"}
READS_ENVIRONMENT = "infra/settings.py"
STANDARD_LIBRARY = sys.stdlib_module_names


def violations(path: str, source: str) -> Iterator[str]:
    """What `source`, lying at `path` below the repository, does that its layer may not."""
    package = path.split("/", maxsplit=1)[0]
    tree = ast.parse(source)
    for module in _imported_modules(tree):
        top = module.split(".", maxsplit=1)[0]
        if top in MAY_IMPORT and top != package and top not in MAY_IMPORT[package]:
            yield f"{path} imports {module}, which lies above or beside it"
        if top in HOMES and not path.startswith(HOMES[top]):
            yield f"{path} imports {module}, whose home is {' and '.join(HOMES[top])}"
        if package == "aigc_models" and top not in COMPANIONS_OF_TORCH | STANDARD_LIBRARY | {
            package
        }:
            yield f"{path} imports {module}, which a bare machine with torch does not have"
    if path != READS_ENVIRONMENT and _touches_environment(tree):
        yield f"{path} touches the environment, which is the business of {READS_ENVIRONMENT}"


def _imported_modules(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield f".{node.module or ''}" if node.level else str(node.module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("import_module", "__import__")
        ):
            yield from (
                str(argument.value)
                for argument in node.args[:1]
                if isinstance(argument, ast.Constant)
            )


def _touches_environment(tree: ast.AST) -> bool:
    names = {"environ", "environb", "getenv", "putenv", "unsetenv"}
    ways = {f"os.{name}" for name in names} | {"dotenv.load_dotenv"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ways:
            return True
        if isinstance(node, ast.ImportFrom) and ways & {
            f"{node.module}.{alias.name}" for alias in node.names
        }:
            return True
    return False


def test_every_file_keeps_to_its_layer() -> None:
    files = [path for package in MAY_IMPORT for path in sorted((REPO_ROOT / package).rglob("*.py"))]
    assert files
    found = [
        violation
        for path in files
        for violation in violations(path.relative_to(REPO_ROOT).as_posix(), path.read_text())
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("infra/storage/s3.py", "import workers.shards"),
        ("infra/parquet.py", "from flows import cli"),
        ("infra/parquet.py", "import ray"),
        ("workers/actor.py", "from flows.nightly import nightly"),
        ("workers/actor.py", "import prefect"),
        ("workers/actor.py", "def f():\n    from prefect import get_run_logger"),
        ("infra/local/stack.py", "from prefect.client import get_client"),
        ("flows/nightly.py", "import ray.util"),
        ("aigc_models/gpt.py", "import ray"),
        ("aigc_models/gpt.py", "import prefect"),
        ("aigc_models/gpt.py", "import boto3"),
        ("aigc_models/gpt.py", "import pyarrow.parquet as pq"),
        ("aigc_models/gpt.py", "from infra.errors import InputError"),
        ("aigc_models/gpt.py", "import importlib\nimportlib.import_module('pyarrow')"),
        ("workers/actor.py", "import os\nos.environ['A'] = 'b'"),
        ("flows/cli.py", "import os\nprint(os.getenv('A'))"),
        ("flows/cli.py", "from os import environ"),
        ("flows/cli.py", "from dotenv import load_dotenv"),
    ],
)
def test_a_planted_violation_is_found(path: str, source: str) -> None:
    assert list(violations(path, source))


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("infra/settings.py", "import os\nos.environ.get('A')"),
        ("infra/local/ray_probe.py", "import ray"),
        (
            "workers/actor.py",
            "import ray\nfrom aigc_models.gpt import GPT\nfrom infra.storage import open_storage",
        ),
        ("flows/nightly.py", "import prefect\nfrom workers import jobs"),
        (
            "aigc_models/gpt.py",
            "import math\nimport torch\nfrom aigc_models.attention import attend",
        ),
    ],
)
def test_what_a_layer_may_do_is_not_reported(path: str, source: str) -> None:
    assert not list(violations(path, source))
