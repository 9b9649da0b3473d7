"""How commands that run flows start and end: they need a server, print outcomes, set the exit
status."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flows.cli.terminal import console, print_json, print_text
from infra.errors import GenerationError, NightshiftError, ServiceError
from infra.settings import load_settings

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

    from workers.partitions.states import PartitionState

STATUSES = {"published": 0, "unchanged": 0, "skipped": 0, "failed": 1, "held": 3}


def require_server() -> None:
    """Raises ServiceError without a Prefect server; sets up Prefect's log for this terminal.

    The log has no tracebacks: `main` prints an error once, in words.
    """
    from prefect.logging.configuration import setup_logging

    from flows.server.health import require_server as require

    require()
    setup_logging()
    for handler in logging.getLogger().handlers:
        handler.addFilter(is_for_people)


def is_for_people(record: logging.LogRecord) -> bool:
    """False for tracebacks, and for the events that Prefect logs when it cannot send them."""
    is_internal = record.name.startswith(("prefect.events", "prefect._internal"))
    return not record.exc_info and not is_internal


def result_of(state: "State[Any]") -> Any:
    """What the flow returned; raises what it raised."""
    result = state.result(raise_on_failure=False)
    if state.is_completed():
        return result
    print_run_page(state)
    if isinstance(result, NightshiftError):
        raise result
    cause = result if isinstance(result, BaseException) else None
    raise GenerationError(state.message or f"the run ended as {state.name}") from cause


def exit_with_outcomes(state: "State[Any]", *, as_json: bool = False) -> None:
    """Prints the outcome of each partition; exits with the lowest status above 0 among them."""
    outcomes: Any = state.result(raise_on_failure=False)
    if not isinstance(outcomes, list):
        result_of(state)
    if as_json:
        print_json([asdict(item) for item in outcomes])
    else:
        for item in outcomes:
            heading = f"{item.date} {item.job}: {item.outcome}"
            console.print(heading, style="bold", markup=False, end="")
            console.print(f"  {item.message}", markup=False)
        print_run_page(state)
    bad_statuses = {STATUSES[item.outcome] for item in outcomes} - {0}
    if bad_statuses:
        sys.exit(min(bad_statuses))


@contextmanager
def reporting_lost_server(job: str = "", day: str = "") -> Iterator[None]:
    """Around a flow: where its server does not come back, prints from storage what the run did.

    Status 0 if the partition that was asked for is published; otherwise raises ServiceError.
    """
    import httpx

    from infra.storage import open_storage
    from workers.partitions.states import list_partitions

    try:
        yield
    except httpx.HTTPError as exc:
        loss = (
            f"the Prefect server did not come back, so it has no record of this run's end ({exc})"
        )
        states = list_partitions(open_storage(load_settings()), job, day) if job else []
        for state in states:
            _print_state(state)
        if {state.state for state in states} != {"published"}:
            advice = "The same command resumes the run; `nightshift show` lists what is published"
            raise ServiceError(f"{loss}. {advice}") from exc
        console.print(loss, markup=False)


def _print_state(state: "PartitionState") -> None:
    rows = "" if state.rows is None else f", {state.rows:,} rows"
    text = f"{state.job} {state.date} is {state.state}{rows}"
    console.print(text, style="bold", markup=False)


def print_run_page(state: "State[Any]") -> None:
    from flows.server.health import run_page

    print_text(f"Prefect run: {run_page(str(state.state_details.flow_run_id))}")
