"""The Prefect worker: starts each flow run of the work pool as a process on this machine."""

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
    """The worker; it creates a missing pool. Ready at its own first heartbeat, not at one of an
    earlier worker of the same name."""
    created_at = time.time()
    options = {"--pool": WORK_POOL, "--type": "process", "--name": WORKER}
    return ProcessSpec(
        name=NAME,
        argv=[
            *(sys.executable, "-m", "prefect", "worker", "start", "--install-policy", "never"),
            *(word for option in options.items() for word in option),
        ],
        env=env,
        is_ready=lambda: has_worker(api_url, heard_since=created_at),
        ready_timeout_s=90.0,
        stop_timeout_s=15.0,
    )


def has_worker(api_url: str, *, heard_since: float = 0.0) -> bool:
    """Whether the stack's worker is online and sent a heartbeat after `heard_since` (Unix time)."""
    try:
        workers = online_workers(api_url, WORK_POOL)
    except (OSError, ValueError):
        return False
    return any(
        worker["name"] == WORKER
        and datetime.fromisoformat(worker["last_heartbeat_time"]).timestamp() >= heard_since
        for worker in workers
    )
