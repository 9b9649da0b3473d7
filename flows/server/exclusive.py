"""One publisher at a time, for stores that ignore conditional writes: a lease that the Prefect
server gives.

Where the store keeps its word nobody needs this: the manifest's compare-and-swap decides.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.asyncio import (
    AcquireConcurrencySlotTimeoutError,
    ConcurrencySlotAcquisitionError,
)
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists
from prefect.logging import get_run_logger

from flows.server.health import wait_for_server
from infra.errors import ServiceError

LEASE_S = 60.0
"""So long a publisher that was killed keeps others waiting, and some seconds until the server
notices."""
PATIENCE_S = 900.0


@contextmanager
def publishing_alone(job: str, day: str) -> Iterator[None]:
    """Within it, no other process publishes a partition of the job.

    Raises ServiceError when the server cannot be asked, or another publisher does not come to an
    end.
    """
    name = f"publish-{job}"
    wait_for_server()
    _ensure_limit(name)
    is_over = False
    try:
        with concurrency(name, lease_duration=LEASE_S, timeout_seconds=PATIENCE_S, strict=True):
            yield
            is_over = True
    except AcquireConcurrencySlotTimeoutError as exc:
        raise ServiceError(
            f"{job} {day} is generated but not published: another run has published {job} for {PATIENCE_S / 60:.0f} "
            f"minutes. If there is none, `prefect gcl update {name} --active-slots 0` and run it again"
        ) from exc
    except (
        asyncio.CancelledError
    ) as exc:  # what Prefect throws into the thread whose lease it could not renew
        raise ServiceError(
            f"{job} {day}: the lease for publishing was lost half way; run it again"
        ) from exc
    except httpx.HTTPError as exc:
        if not is_over:
            raise
        get_run_logger().warning(f"the next publisher of {job} waits up to {LEASE_S:.0f} s: {exc}")
    except ConcurrencySlotAcquisitionError as exc:
        raise ServiceError(
            f"{job} {day} is generated but not published, run it again: {exc}"
        ) from exc


def _ensure_limit(name: str) -> None:
    with get_client(sync_client=True) as client:
        try:
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))
        except ObjectAlreadyExists:
            return
        except httpx.HTTPError as exc:
            raise ServiceError(f"the concurrency limit {name} could not be made: {exc}") from exc
