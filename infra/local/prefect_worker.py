"""The Prefect process worker: starts each flow run of the work pool as a process on this
machine."""

import sys
import time
from collections.abc import Mapping
from datetime import datetime

from infra.local.prefect_server import online_workers
from infra.local.supervised import ProcessSpec

NAME = "prefect-worker"
WORK_POOL = "nightshift"
WORKER = "local"


def prefect_worker_spec(*, api_url: str, env: Mapping[str, str]) -> ProcessSpec:
    """The worker, which creates a missing pool; ready when the server has heard from this one, not
    from an earlier."""
    asked_at = time.time()
    return ProcessSpec(
        name=NAME,
        argv=[
            *(sys.executable, "-m", "prefect", "worker", "start"),
            *(
                "--pool",
                WORK_POOL,
                "--type",
                "process",
                "--name",
                WORKER,
                "--install-policy",
                "never",
            ),
        ],
        env=env,
        is_ready=lambda: has_worker(api_url, heard_since=asked_at),
        ready_timeout_s=90.0,
        stop_timeout_s=15.0,
    )


def has_worker(api_url: str, *, heard_since: float = 0.0) -> bool:
    """Whether the stack's worker is alive and gave a sign of life after `heard_since` (seconds
    since 1970)."""
    try:
        workers = online_workers(api_url, WORK_POOL)
    except (OSError, ValueError):
        return False
    return any(
        worker["name"] == WORKER
        and datetime.fromisoformat(worker["last_heartbeat_time"]).timestamp() >= heard_since
        for worker in workers
    )
