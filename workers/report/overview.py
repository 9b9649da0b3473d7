"""All jobs and nights on one page: a calendar of states, sums, and how figures changed."""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from math import isnan
from statistics import median

from infra.storage import Storage
from workers.jobs import JOBS
from workers.partitions.manifest import Manifest
from workers.partitions.states import DateState, PartitionState, list_partitions
from workers.report.page import report_key, template
from workers.report.trend import draw_trend, share_set_aside

OVERVIEW = "reports/index.html"
WEEKS = 6
READS_AT_ONCE = 16
SIGNS: Mapping[DateState, str] = {
    "published": "●",
    "held": "▲",
    "failed": "✕",
    "damaged": "!",
    "unfinished": "○",
}
"""One for each state: nobody has to tell colours apart."""
SUMS = ("nights", "rows", "set aside", "median rows per second", "actor hours")


@dataclass(frozen=True, slots=True)
class Day:
    state: DateState
    sign: str
    title: str
    link: str
    """From the overview to the partition's page; empty if there is none."""


@dataclass(frozen=True, slots=True)
class JobOverview:
    name: str
    weeks: list[list[Day]]
    """From Monday to Sunday."""
    sums: list[str]
    trend: str
    """SVG."""


def write_overview(storage: Storage, last: date, price_per_hour: float = 0.0) -> str:
    """Writes the page of the six weeks that end with the week of `last`; returns its key.

    `price_per_hour` is that of one actor; 0 hides the costs.
    """
    days = calendar_days(last)
    text = template("overview.html.j2").render(
        first=days[0],
        last=last.isoformat(),
        made_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        signs=SIGNS,
        weeks=WEEKS,
        week_names=[date.fromisoformat(day).strftime("%d %b") for day in days[::7]],
        sum_names=[*SUMS, *(["cost"] if price_per_hour else [])],
        jobs=[_overview(storage, job, days, price_per_hour) for job in JOBS],
    )
    storage.put(OVERVIEW, text.encode(), content_type="text/html; charset=utf-8")
    return OVERVIEW


def calendar_days(last: date) -> list[str]:
    """The days of the six weeks, from Monday to Sunday, that end with the week of `last`."""
    first = last - timedelta(days=last.weekday(), weeks=WEEKS - 1)
    return [(first + timedelta(days=number)).isoformat() for number in range(7 * WEEKS)]


def _overview(storage: Storage, job: str, days: Sequence[str], price: float) -> JobOverview:
    with ThreadPoolExecutor(READS_AT_ONCE) as threads:
        found = list(threads.map(partial(list_partitions, storage, job), days))
    pages = {item.key for item in storage.list(f"reports/{job}/")}
    cells = [
        make_day(day, states, report_key(job, day), pages)
        for day, states in zip(days, found, strict=True)
    ]
    manifests = [state.manifest for states in found for state in states if state.manifest]
    weeks = [cells[start : start + 7] for start in range(0, len(cells), 7)]
    return JobOverview(job, weeks, sum_up(manifests, price), draw_trend(manifests))


def make_day(
    day: str, states: Sequence[PartitionState], page: str = "", pages: Collection[str] = ()
) -> Day:
    """The calendar's field of a date, which shows the newest of its `states`."""
    if not states:
        return Day("missing", "", f"{day}: never run", "")
    newest = states[0]
    rows = f", {newest.rows:,} rows" if newest.rows is not None else ""
    why = f": {'; '.join(newest.reasons)}" if newest.reasons else ""
    link = page.removeprefix("reports/") if page in pages else ""
    return Day(newest.state, SIGNS[newest.state], f"{day} {newest.state}{rows}{why}", link)


def sum_up(manifests: Sequence[Manifest], price_per_hour: float) -> list[str]:
    """The SUMS of some nights of a job, and their cost if there is a price."""
    set_aside = share_set_aside(manifests)
    hours = sum(manifest.actor_hours for manifest in manifests)
    rates = [manifest.rows_per_second for manifest in manifests]
    return [
        f"{len(manifests)}",
        f"{sum(manifest.counts.accepted for manifest in manifests):,}",
        "" if isnan(set_aside) else f"{set_aside:.1%}",
        f"{median(rates):,.1f}" if rates else "",
        f"{hours:,.3f}",
        *([f"{hours * price_per_hour:,.2f}"] if price_per_hour else []),
    ]
