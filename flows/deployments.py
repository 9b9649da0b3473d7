"""Registers the deployments of `prefect.yaml` on the local stack's Prefect server."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from infra.errors import ServiceError
from infra.local import StackStatus
from infra.settings import Settings, child_environment

PREFECT_YAML = Path(__file__).resolve().parents[1] / "prefect.yaml"
TIMEOUT_S = 120


def register(settings: Settings, state: StackStatus, *, on_event: Callable[[str], None]) -> None:
    """Registers what `prefect.yaml` declares, unless just that was registered on this stack before.

    Raises ServiceError with what Prefect said if it refuses.
    """
    marker = settings.stack_dir / "deployments"
    digest = hashlib.sha256(PREFECT_YAML.read_bytes()).hexdigest()
    if marker.exists() and marker.read_text() == digest:
        return
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", PREFECT_YAML.name],
        cwd=PREFECT_YAML.parent,
        env=child_environment(PREFECT_API_URL=f"{state.ui_url}/api"),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise ServiceError(f"the deployments could not be registered:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    marker.write_text(digest)
    on_event("the deployments of prefect.yaml are registered")
