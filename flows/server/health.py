"""The Prefect server: whether it answers, where its pages are, what a run does while it is away.

Prefect's client retries a call for about a minute, but not the first one of a connection. Work
needs no server and continues without one. `wait_for_server` stands wherever a run needs it: before
a subflow run, before a run's final state.
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
"""In seconds. Reading may take long: the server may be busy."""
ASK_EVERY_S = 2.0


@dataclass(slots=True)
class Outage:
    """An outage of the server, as this process sees it.

    It lasts until the server answers, so that the waits of one process share one time limit.
    """

    since: float | None = None
    """Monotonic seconds; None while the server answers."""


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
            f"the Prefect server at {address} does not answer ({exc}): "
            "run `nightshift up`, or check PREFECT_API_URL"
        ) from exc


def wait_for_server() -> None:
    """Returns once the server answers; raises ServiceError after `server_wait_s` of an outage."""
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
    """Around a flow's body: waits for the server before the run ends, so that it gets the state."""
    try:
        yield
    except Exception:
        _wait_before_end()
        raise
    _wait_before_end()


def _wait_before_end() -> None:
    with _warn_on_failure("this run's final state cannot be recorded"):
        wait_for_server()


def show_in_ui(create: Callable[[], object]) -> None:
    """Creates an artifact; without a server it logs a warning, because artifacts are optional."""
    with _warn_on_failure("an artifact of this run is missing"):
        wait_for_server()
        create()


def tag_run(*names: str) -> None:
    """Adds tags to the current run, by which people find runs in the UI."""
    tags = sorted({*flow_run.tags, "nightshift", *names})
    loss = "the tags of this run are missing"
    with _warn_on_failure(loss), get_client(sync_client=True) as client:
        client.update_flow_run(UUID(flow_run.id), tags=tags)


@contextmanager
def _warn_on_failure(loss: str) -> Iterator[None]:
    try:
        yield
    except (ServiceError, httpx.HTTPError, PrefectException) as exc:
        get_run_logger().warning(f"{loss}: {exc}")


def exit_now_if_away(status: int) -> None:
    """Exits without Prefect's cleanup if the server is away.

    Prefect would try for minutes to send its remaining events and log lines, one after another.
    """
    if _outage.since is not None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def ui_url() -> str:
    """The address of the server's UI."""
    return str(PREFECT_API_URL.value() or "").removesuffix("/api")


def run_page(flow_run_id: str) -> str:
    return f"{ui_url()}/runs/flow-run/{flow_run_id}"
