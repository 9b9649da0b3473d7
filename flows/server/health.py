"""The Prefect server: whether it is there, where its pages are, and what a run does while it is
away.

Prefect's client repeats a call for about a minute, but not the first one of a connection. Work
needs no server: it goes on without one, and `wait_for_server` stands wherever a run cannot (before
a subflow run, before a run's final state).
"""

import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL

from flows.server.interruption import check_interruption
from infra.errors import ServiceError
from infra.settings import load_settings

TIMEOUT = httpx.Timeout(30.0, connect=5.0)
"""In seconds: a server that is there may be busy."""
ASK_EVERY_S = 2.0


@dataclass(slots=True)
class Outage:
    """Of this process' server. It lasts until the server answers: a wait that was in vain is not
    begun again."""

    since: float | None = None
    """Monotonic seconds; None while the server is there."""


_outage = Outage()


def require_server() -> None:
    """Raises ServiceError, with what to do, unless the Prefect server answers."""
    address = PREFECT_API_URL.value()
    if not address:
        raise ServiceError("no Prefect server is set: run `nightshift up`, or set PREFECT_API_URL")
    try:
        httpx.get(f"{address}/health", timeout=TIMEOUT).raise_for_status()
    except httpx.HTTPError as exc:
        raise ServiceError(
            f"the Prefect server at {address} does not answer ({exc}): run `nightshift up`, or look at PREFECT_API_URL"
        ) from exc


def wait_for_server() -> None:
    """Returns once the server answers; raises ServiceError when it was away for `server_wait_s`
    altogether."""
    while True:
        check_interruption()
        try:
            require_server()
        except ServiceError:
            if _outage.since is None:
                _outage.since = time.monotonic()
                get_run_logger().warning("the Prefect server does not answer; waiting for it")
            if time.monotonic() - _outage.since > load_settings().server_wait_s:
                raise
        else:
            _outage.since = None
            return
        time.sleep(ASK_EVERY_S * random.uniform(0.5, 1.5))


@contextmanager
def ending_with_server() -> Iterator[None]:
    """Around a flow's body: lets the run end only when the server can be told how it ended, or
    stays away."""
    try:
        yield
    except Exception:
        _wait_at_the_end()
        raise
    _wait_at_the_end()


def _wait_at_the_end() -> None:
    with _told_if_away("how this run ended cannot be recorded"):
        wait_for_server()


def show_in_ui(create: Callable[[], object]) -> None:
    """Creates an artifact. Artifacts are for looking at: without a server there is none, and the
    run goes on."""
    with _told_if_away("an artifact of this run is missing"):
        wait_for_server()
        create()


def tag_run(*names: str) -> None:
    """Adds tags to the current run, by which people find it in the UI, and those of its kind."""
    with _told_if_away("the tags of this run are missing"), get_client(sync_client=True) as client:
        client.update_flow_run(
            UUID(flow_run.id), tags=sorted({*flow_run.tags, "nightshift", *names})
        )


@contextmanager
def _told_if_away(loss: str) -> Iterator[None]:
    try:
        yield
    except (ServiceError, httpx.HTTPError, PrefectException) as exc:
        get_run_logger().warning(f"{loss}: {exc}")


def leave_if_away(status: int) -> None:
    """Ends the process without more ado if the server is away: what Prefect still has for it
    (events, log lines), it would try to send for minutes, one after the other."""
    if _outage.since is not None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def ui_url() -> str:
    """The address of the UI that belongs to the server."""
    return str(PREFECT_API_URL.value() or "").removesuffix("/api")


def run_page(flow_run_id: str) -> str:
    return f"{ui_url()}/runs/flow-run/{flow_run_id}"
