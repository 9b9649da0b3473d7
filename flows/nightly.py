"""The nightly flow: one partition of every job whose inputs are loaded."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal, get_args

import httpx
from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed

from flows.generate import generate
from flows.parameters import DateText, JobName, resolve_date, run_name
from flows.run_page.overview import renew_overview
from flows.server.health import ending_with_server, show_in_ui, tag_run, wait_for_server
from infra.errors import NightshiftError, ServiceError
from infra.settings import load_settings
from infra.storage import Storage, open_storage
from workers.actors.idle_actors import IDLE_ACTORS
from workers.inputs.snapshot import has_rows
from workers.job import Job
from workers.jobs import JOBS

Outcome = Literal["published", "unchanged", "held", "failed", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """The result of one job on one date."""

    job: str
    date: str
    outcome: Outcome
    message: str
    flow_run_id: str = ""


@flow(name="nightly", flow_run_name=lambda: run_name("nightly"))
@ending_with_server()
def nightly(date: DateText = "") -> State[list[RunOutcome]]:
    """Runs every job whose input tables have rows; a job that fails does not stop the others.

    Args:
        date: YYYY-MM-DD, the date of the partitions. Empty: the day before the scheduled start
            (UTC).
    """
    storage = open_storage(load_settings())
    day = resolve_date(date).isoformat()
    tag_run("nightly", day)
    with IDLE_ACTORS.kept():
        outcomes = [run_job(storage, job, day) for job in JOBS.values()]
    renew_overview(storage)
    return summarise(outcomes, "nightly-summary")


def run_job(storage: Storage, job: Job, day: str) -> RunOutcome:
    """One job of the night, skipped if one of its tables is empty; an error becomes the outcome."""
    try:
        empty = [table for table in job.tables if not has_rows(storage, table)]
    except NightshiftError as exc:
        return RunOutcome(job=job.name, date=day, outcome="failed", message=str(exc))
    if empty:
        message = f"nothing is loaded into {' and '.join(empty)}"
        return RunOutcome(job=job.name, date=day, outcome="skipped", message=message)
    return run_partition(job.name, day)


def run_partition(job: str, day: str, **parameters: Any) -> RunOutcome:
    """One `generate` subflow run; its error becomes the outcome."""
    try:
        wait_for_server()
        state: State[Any] = generate(job=JobName(job), date=day, return_state=True, **parameters)
    except (httpx.HTTPError, ServiceError) as exc:
        message = f"no answer from Prefect; `nightshift show` lists what is published ({exc})"
        return RunOutcome(job=job, date=day, outcome="failed", message=message)
    result = state.result(raise_on_failure=False)
    return RunOutcome(
        job=job,
        date=day,
        outcome=outcome_of(state),
        message=str(result) if isinstance(result, NightshiftError) else state.message or "",
        flow_run_id=str(state.state_details.flow_run_id or ""),
    )


def outcome_of(state: State[Any]) -> Outcome:
    if state.is_completed():
        return "unchanged" if state.name == "Unchanged" else "published"
    return "held" if state.name == "Held" else "failed"


def summarise(outcomes: list[RunOutcome], key: str) -> State[list[RunOutcome]]:
    """Logs the outcomes, shows them as a table artifact and returns the state they add up to."""
    log = get_run_logger()
    for item in outcomes:
        log.info(f"{item.job} {item.date}: {item.outcome}. {item.message}")
    rows = [
        {"job": item.job, "date": item.date, "outcome": item.outcome, "message": item.message}
        for item in outcomes
    ]
    show_in_ui(lambda: create_table_artifact(rows, key=key))
    counts = Counter(item.outcome for item in outcomes)
    parts = [f"{counts[name]} {name}" for name in get_args(Outcome) if counts[name]]
    message = ", ".join(parts) or "nothing to do"
    if counts["failed"]:
        return Failed(message=message, data=outcomes)
    if counts["held"]:
        return Failed(name="Held", message=message, data=outcomes)
    return Completed(message=message, data=outcomes)
