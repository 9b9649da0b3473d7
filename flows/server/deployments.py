"""Registers the deployments of `prefect.yaml` and their queues on the local stack's Prefect
server."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import PrefectException

from infra.errors import ServiceError
from infra.local.prefect_worker import WORK_POOL
from infra.local.stack import StackStatus
from infra.settings import Settings, child_environment

PREFECT_YAML = Path(__file__).resolve().parents[2] / "prefect.yaml"
WORK_QUEUES = ("nightly", "default", "backfill")
"""The order in which a busy worker takes runs. `default` is Prefect's own, for runs on demand."""
TIMEOUT_S = 120


def register(settings: Settings, state: StackStatus, *, on_event: Callable[[str], None]) -> None:
    """Registers what `prefect.yaml` declares, unless this stack already has exactly that.

    Raises ServiceError with Prefect's output if that fails.
    """
    marker = settings.stack_dir / "deployments"
    digest = hashlib.sha256(PREFECT_YAML.read_bytes() + repr(WORK_QUEUES).encode()).hexdigest()
    if marker.exists() and marker.read_text() == digest:
        return
    api_url = f"{state.ui_url}/api"
    command = ("--no-prompt", "deploy", "--all", "--prefect-file", PREFECT_YAML.name)
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *command],
        cwd=PREFECT_YAML.parent,
        env=child_environment(PREFECT_API_URL=api_url),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        output = done.stdout[-2000:] + done.stderr[-2000:]
        raise ServiceError(f"cannot register the deployments:\n{output}")
    rank_queues(api_url)
    marker.write_text(digest)
    on_event("the deployments of prefect.yaml are registered")


def rank_queues(api_url: str) -> None:
    """Sets the priorities of the queues, which `deploy` has created; raises ServiceError.

    Prefect's client retries while a new server's database is locked (503).
    """
    try:
        with SyncPrefectClient(api_url) as client:
            for priority, name in enumerate(WORK_QUEUES, start=1):
                queue = client.read_work_queue_by_name(name, work_pool_name=WORK_POOL)
                client.update_work_queue(queue.id, priority=priority)
    except (httpx.HTTPError, PrefectException) as exc:
        raise ServiceError(f"cannot rank the work queues of {WORK_POOL}: {exc}") from exc
