"""A lease from the Prefect server: one publisher at a time, for stores without conditional writes.

Other stores do not need it: there the manifest's compare-and-swap resolves the race.
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
"""How long a killed publisher blocks others, until the server notices some seconds later."""
PATIENCE_S = 900.0
"""How long to wait for another publisher."""


@contextmanager
def publishing_alone(job: str, day: str) -> Iterator[None]:
    """Within it, no other process publishes a partition of the job.

    Raises ServiceError when the server does not answer, or another publisher does not finish.
    """
    name = f"publish-{job}"
    wait_for_server()
    _ensure_limit(name)
    is_published = False
    try:
        with concurrency(name, lease_duration=LEASE_S, timeout_seconds=PATIENCE_S, strict=True):
            yield
            is_published = True
    except AcquireConcurrencySlotTimeoutError as exc:
        raise ServiceError(
            f"{job} {day} is generated but not published: another run has been publishing {job} "
            f"for {PATIENCE_S / 60:.0f} minutes. If there is no such run, call "
            f"`prefect gcl update {name} --active-slots 0` and run this date again"
        ) from exc
    except asyncio.CancelledError as exc:
        # Prefect raises it in this thread when it could not renew the lease.
        raise ServiceError(
            f"{job} {day}: the lease was lost while publishing; run this date again"
        ) from exc
    except httpx.HTTPError as exc:
        if not is_published:
            raise
        get_run_logger().warning(
            f"the lease was not released, so the next publisher of {job} waits up to "
            f"{LEASE_S:.0f} s: {exc}"
        )
    except ConcurrencySlotAcquisitionError as exc:
        raise ServiceError(
            f"{job} {day} is generated but not published; run this date again: {exc}"
        ) from exc


def _ensure_limit(name: str) -> None:
    with get_client(sync_client=True) as client:
        try:
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))
        except ObjectAlreadyExists:
            return
        except httpx.HTTPError as exc:
            raise ServiceError(f"cannot create the concurrency limit {name}: {exc}") from exc
