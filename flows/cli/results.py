"""How commands that run flows begin and end: the server is there, results and outcomes are told,
statuses given."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flows.cli.terminal import console, print_json
from infra.errors import GenerationError, NightshiftError, ServiceError
from infra.settings import load_settings

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

STATUSES = {"published": 0, "unchanged": 0, "skipped": 0, "failed": 1, "held": 3}


def require_server() -> None:
    """Also sets up Prefect's log on this terminal, where an error is told once, in words, without
    its traceback."""
    from prefect.logging.configuration import setup_logging

    from flows.server.health import require_server as require

    require()
    setup_logging()
    for handler in logging.getLogger().handlers:
        handler.addFilter(is_for_people)


def is_for_people(record: logging.LogRecord) -> bool:
    """Not tracebacks, nor whole events that Prefect could not send while its server was away: we
    say that in words."""
    return not record.exc_info and not record.name.startswith(
        ("prefect.events", "prefect._internal")
    )


def result_of(state: "State[Any]") -> Any:
    """What the flow returned; raises what it raised."""
    result = state.result(raise_on_failure=False)
    if state.is_completed():
        return result
    tell_page(state)
    if isinstance(result, NightshiftError):
        raise result
    raise GenerationError(state.message or f"the run ended as {state.name}") from (
        result if isinstance(result, BaseException) else None
    )


def end_with(state: "State[Any]", *, as_json: bool = False) -> None:
    """Prints what became of each partition; ends the process with the worst of their statuses."""
    outcomes: Any = state.result(raise_on_failure=False)
    if not isinstance(outcomes, list):
        result_of(state)
    if as_json:
        print_json([asdict(item) for item in outcomes])
    else:
        for item in outcomes:
            console.print(
                f"{item.date} {item.job}: {item.outcome}", style="bold", markup=False, end=""
            )
            console.print(f"  {item.message}", markup=False)
        tell_page(state)
    statuses = {STATUSES[item.outcome] for item in outcomes}
    if statuses - {0}:
        sys.exit(min(statuses - {0}))


@contextmanager
def server_may_stay_away(job: str = "", day: str = "") -> Iterator[None]:
    """Around a flow: if the server never comes back the run is lost from the UI, and storage tells
    what it did.

    Ends the process with status 0 if the one partition that was asked for is published.
    """
    import httpx

    from infra.storage import open_storage
    from workers.partitions.states import list_partitions

    try:
        yield
    except httpx.HTTPError as exc:
        what = f"the Prefect server went away and stayed away, so how this run ended is not recorded there ({exc})"
        states = list_partitions(open_storage(load_settings()), job, day) if job else []
        for item in states:
            rows = f", {item.rows:,} rows" if item.rows is not None else ""
            console.print(
                f"{item.job} {item.date} is {item.state}{rows}", style="bold", markup=False
            )
        if {item.state for item in states} != {"published"}:
            raise ServiceError(
                f"{what}. The same command goes on from there; see `nightshift show`"
            ) from exc
        console.print(what, markup=False)


def tell_page(state: "State[Any]") -> None:
    from flows.server.health import run_page

    console.print(
        f"Prefect run: {run_page(str(state.state_details.flow_run_id))}",
        markup=False,
        soft_wrap=True,
    )
