"""All jobs and nights on one page: a calendar of states, sums, and how figures moved."""

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from statistics import median
from typing import Any

from infra.storage import Storage
from workers.jobs import JOBS
from workers.partition import PartitionState, list_partitions
from workers.report.page import report_key, template
from workers.report.trend import actor_hours, draw_trend, rows_per_second

OVERVIEW = "reports/index.html"
WEEKS = 6
READS_AT_ONCE = 16
SIGNS = {"published": "●", "held": "▲", "failed": "✕", "damaged": "!", "unfinished": "○"}
"""Of states, so that nobody has to tell colours."""


@dataclass(frozen=True, slots=True)
class Day:
    state: str
    sign: str
    title: str
    link: str
    """To the partition's page, from the overview; empty where there is none."""


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

    `price_per_hour`: of one actor; 0: costs are not shown.
    """
    first = last - timedelta(days=last.weekday(), weeks=WEEKS - 1)
    days = [(first + timedelta(days=number)).isoformat() for number in range(7 * WEEKS)]
    text = template("overview.html.j2").render(
        first=days[0],
        last=last.isoformat(),
        made_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        signs=SIGNS,
        weeks=WEEKS,
        week_names=[date.fromisoformat(day).strftime("%d %b") for day in days[::7]],
        jobs=[_overview(storage, job, days, price_per_hour) for job in JOBS],
        price=price_per_hour,
    )
    storage.put(OVERVIEW, text.encode(), content_type="text/html; charset=utf-8")
    return OVERVIEW


def _overview(storage: Storage, job: str, days: Sequence[str], price: float) -> JobOverview:
    with ThreadPoolExecutor(READS_AT_ONCE) as threads:
        found = list(threads.map(partial(list_partitions, storage, job), days))
    pages = {item.key for item in storage.list(f"reports/{job}/")}
    cells = [_day(day, states, report_key(job, day), pages) for day, states in zip(days, found, strict=True)]
    manifests = [state.manifest for states in found for state in states if state.manifest]
    weeks = [cells[start : start + 7] for start in range(0, len(cells), 7)]
    return JobOverview(job, weeks, _sums(manifests, price), draw_trend(manifests))


def _day(day: str, states: Sequence[PartitionState], page: str, pages: Collection[str]) -> Day:
    if not states:
        return Day("missing", "", f"{day}: never run", "")
    newest = states[0]
    rows = f", {newest.rows:,} rows" if newest.rows is not None else ""
    why = f": {'; '.join(newest.reasons)}" if newest.reasons else ""
    link = page.removeprefix("reports/") if page in pages else ""
    return Day(newest.state, SIGNS[newest.state], f"{day} {newest.state}{rows}{why}", link)


def _sums(manifests: Sequence[dict[str, Any]], price: float) -> list[str]:
    counts = [manifest["counts"] for manifest in manifests]
    num_rows = sum(each["input_rows"] for each in counts)
    aside = sum(each["rejected"] + each["quarantined"] for each in counts)
    hours = sum(map(actor_hours, manifests))
    return [
        f"{len(manifests)}",
        f"{sum(each['accepted'] for each in counts):,}",
        f"{aside / num_rows:.1%}" if num_rows else "",
        f"{median(map(rows_per_second, manifests)):,.1f}" if manifests else "",
        f"{hours:,.2f}",
        *([f"{hours * price:,.2f}"] if price else []),
    ]
