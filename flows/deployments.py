"""Registers the deployments of `prefect.yaml` on the local stack's Prefect server, and the queues they wait in."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx

from infra.errors import ServiceError
from infra.local import StackStatus
from infra.local.prefect_worker import WORK_POOL
from infra.settings import Settings, child_environment

PREFECT_YAML = Path(__file__).resolve().parents[1] / "prefect.yaml"
WORK_QUEUES = ("nightly", "default", "backfill")
"""Whose runs a worker without room for all takes first. `default` is Prefect's own: what people ask for."""
TIMEOUT_S = 120


def register(settings: Settings, state: StackStatus, *, on_event: Callable[[str], None]) -> None:
    """Registers what `prefect.yaml` declares, unless just that was registered on this stack before.

    Raises ServiceError with what Prefect said if it refuses.
    """
    marker = settings.stack_dir / "deployments"
    digest = hashlib.sha256(PREFECT_YAML.read_bytes() + repr(WORK_QUEUES).encode()).hexdigest()
    if marker.exists() and marker.read_text() == digest:
        return
    api_url = f"{state.ui_url}/api"
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", PREFECT_YAML.name],
        cwd=PREFECT_YAML.parent,
        env=child_environment(PREFECT_API_URL=api_url),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise ServiceError(f"the deployments could not be registered:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    rank_queues(api_url)
    marker.write_text(digest)
    on_event("the deployments of prefect.yaml are registered")


def rank_queues(api_url: str) -> None:
    """Gives the queues, which deploying has created, their priorities; raises ServiceError."""
    try:
        with httpx.Client(base_url=f"{api_url}/work_pools/{WORK_POOL}/queues", timeout=TIMEOUT_S) as queues:
            for priority, name in enumerate(WORK_QUEUES, start=1):
                queues.patch(f"/{name}", json={"priority": priority}).raise_for_status()
    except httpx.HTTPError as exc:
        raise ServiceError(f"the work queues of {WORK_POOL} could not be given their priorities: {exc}") from exc
