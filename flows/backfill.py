"""The backfill flow: past dates, each its own run, at lower priority than nightly runs."""

import sys
from typing import Annotated

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, as_completed
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.dates import DateStatus, Mode, Order, examine_dates, parse_range, table_rows, totals
from flows.nightly import RunOutcome, run_partition, summarise
from flows.parameters import ActorCount, JobName, PolicyText, SettingsText, job_settings, titled
from flows.run_page.overview import renew_overview
from flows.run_page.progress import Stage
from flows.server.health import ending_with_server, show_in_ui, tag_run
from flows.server.interruption import interrupting_threads
from infra.settings import load_settings
from infra.storage import open_storage
from workers.actors.cluster import connect, pool_size
from workers.actors.idle_actors import IDLE_ACTORS
from workers.job import JobSettings
from workers.jobs import find_job


def backfill_name() -> str:
    parameters = flow_run.parameters
    return f"{parameters.get('job')} · {parameters.get('start')} to {parameters.get('end')}"


@flow(name="backfill", flow_run_name=backfill_name)
@ending_with_server()
def backfill(  # noqa: PLR0913, PLR0917  # the arguments are the form in the Prefect UI, and that is best flat
    job: Annotated[JobName, titled("Job")],
    start: Annotated[str, titled("First date")],
    end: Annotated[str, titled("Last date")],
    mode: Annotated[Mode, titled("Which dates")] = "missing",
    order: Annotated[Order, titled("Order")] = "oldest",
    max_parallel: Annotated[int, titled("Dates at once", ge=1)] = 1,
    dry_run: Annotated[bool, titled("Dry run")] = False,
    model_policy: PolicyText = "champion",
    settings: SettingsText = "",
    num_actors: ActorCount = 0,
) -> State[list[RunOutcome]]:
    """Makes the partitions of a range of dates; a date that fails does not stop the others.

    Runs in the background: its actors yield to nightly runs.

    Args:
        job: What to generate.
        start: First date, YYYY-MM-DD.
        end: Last date, YYYY-MM-DD, included.
        mode: missing: dates without a complete published partition. failed: failed, held,
            unfinished or damaged ones. stale: published ones whose inputs, model or settings have
            changed since. all: every date.
        order: Which date to make first.
        max_parallel: How many dates to make at once; they share the actors.
        dry_run: Only show what would be done for each date, and an estimate of the time.
        model_policy: champion, as-of (the newest model trained on data up to the date), or the name
            of a version.
        settings: Job settings to change, as key=value, separated by spaces or line breaks.
        num_actors: How many actors generate at once, for all dates together. 0: as many as fit into
            the cluster.
    """
    declared = find_job(job)
    days = parse_range(start, end, order)
    tag_run("backfill", declared.name)
    parsed = job_settings(declared, settings)
    storage = open_storage(load_settings())
    found = examine_dates(storage, declared, days, mode, model_policy, parsed)
    due = [item.date for item in found if item.is_due]
    get_run_logger().info(f"{len(due)} of {len(found)} dates to make")
    if dry_run:
        return _show_dry_run(found)
    parallel, share = _share_actors(min(max_parallel, len(due)), num_actors, parsed)
    parameters = {
        "model_policy": model_policy,
        "settings": settings,
        "num_actors": share,
        "background": True,
    }
    made = _make_dates(job, due, parallel, parameters)
    renew_overview(storage)
    outcomes = [made.get(item.date) or _left_alone(job, item) for item in found]
    return summarise(outcomes, "backfill-summary")


@task(name="date", task_run_name="{day}", cache_policy=NO_CACHE)
def make_date(job: str, day: str, parameters: dict[str, object]) -> RunOutcome:
    """One date; a task, so that several can run in threads, each with its own subflow run."""
    return run_partition(job, day, **parameters)


def _make_dates(
    job: str, days: list[str], parallel: int, parameters: dict[str, object]
) -> dict[str, RunOutcome]:
    """The outcome of each date, once all have ended. Cancelling ends all of them."""
    outcomes: dict[str, RunOutcome] = {}
    if not days:
        return outcomes
    runner: ThreadPoolTaskRunner[RunOutcome] = ThreadPoolTaskRunner(max_workers=parallel)
    with (
        Stage(f"backfill of {job}", len(days), "backfill-progress", "dates") as stage,
        IDLE_ACTORS.kept(),
        runner,
        interrupting_threads(),
    ):
        futures: list[PrefectFuture[RunOutcome]] = [
            runner.submit(make_date, {"job": job, "day": day, "parameters": parameters})
            for day in days
        ]
        for future in as_completed(futures):
            outcome = future.result()
            outcomes[outcome.date] = outcome
            stage.update(len(outcomes), f"{outcome.date} {outcome.outcome}")
    return outcomes


def _share_actors(parallel: int, num_actors: int, settings: JobSettings) -> tuple[int, int]:
    """(dates at once, actors for each); at most as many dates as there are actors."""
    if parallel <= 1:
        return 1, num_actors
    configured = load_settings()
    connect(configured)
    wanted = num_actors or configured.num_actors
    room = pool_size(configured, wanted, sys.maxsize, settings.threads, settings.num_gpus)
    parallel = min(parallel, room)
    return parallel, room // parallel


def _left_alone(job: str, item: DateStatus) -> RunOutcome:
    return RunOutcome(job=job, date=item.date, outcome="skipped", message=f"left alone: {item.why}")


def _show_dry_run(found: list[DateStatus]) -> State[list[RunOutcome]]:
    message = totals(found)
    show_in_ui(
        lambda: create_table_artifact(
            table_rows(found), key="backfill-dry-run", description=message
        )
    )
    return Completed(name="DryRun", message=message, data=[])
