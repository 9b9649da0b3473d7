"""Past dates, one after the other, each its own run."""

from datetime import timedelta
from typing import Literal

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from flows.nightly import RunOutcome, run_partition, summarise
from flows.parameters import JobName, split_assignments
from infra.errors import InputError
from infra.settings import load_settings
from infra.storage import Storage, open_storage
from workers.jobs import find_job
from workers.partition import list_partitions
from workers.plan import parse_date

Mode = Literal["missing", "failed", "stale", "all"]
MAX_DAYS = 3660


def backfill_name() -> str:
    parameters = flow_run.parameters
    return f"{parameters.get('job')} · {parameters.get('start')} to {parameters.get('end')}"


@flow(name="backfill", flow_run_name=backfill_name)
def backfill(
    job: JobName,
    start: str,
    end: str,
    mode: Mode = "missing",
    model_policy: str = "champion",
    settings: str = "",
) -> State[list[RunOutcome]]:
    """Makes the partitions of a range of dates; one that fails does not stop the others. Dates that are up to date are
    left alone.

    Args:
        job: What to generate.
        start: First date, YYYY-MM-DD.
        end: Last date, YYYY-MM-DD, included.
        mode: missing: dates that are not published; failed: failed, held back or unfinished; stale: published, but
            would come out differently today; all: every date.
        model_policy: champion, as-of (the newest model trained on data up to the date), or the name of a version.
        settings: Job settings to change, as key=value separated by blanks or lines.
    """
    storage = open_storage(load_settings())
    find_job(job).parse_settings(split_assignments(settings))
    days = select_dates(storage, job, parse_range(start, end), mode)
    get_run_logger().info(f"{len(days)} dates to do")
    outcomes = [run_partition(job, day, model_policy=model_policy, settings=settings) for day in days]
    return summarise(outcomes, "backfill-summary")


def parse_range(start: str, end: str) -> list[str]:
    """All dates from `start` to `end`, both included; raises InputError for an empty or absurd range."""
    if not start or not end:
        raise InputError("a backfill needs a first and a last date, such as 2026-11-01 and 2026-11-07")
    first, last = parse_date(start), parse_date(end)
    if last < first:
        raise InputError(f"the range ends ({end}) before it starts ({start})")
    if (last - first).days >= MAX_DAYS:
        raise InputError(f"the range {start} to {end} is longer than ten years")
    return [(first + timedelta(days=number)).isoformat() for number in range((last - first).days + 1)]


def select_dates(storage: Storage, job: str, days: list[str], mode: Mode) -> list[str]:
    """Those of `days` that `mode` asks for, from storage alone. A stale date shows when its run has made its plan."""
    partitions = list_partitions(storage, job)
    published = {item.date for item in partitions if item.state == "published"}
    unsettled = {item.date for item in partitions if item.state != "published"}
    wanted = {
        "missing": lambda day: day not in published,
        "failed": lambda day: day in unsettled,
        "stale": lambda day: day in published,
        "all": lambda day: True,
    }[mode]
    return [day for day in days if wanted(day)]
