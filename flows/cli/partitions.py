"""Partitions on the terminal: a calendar, totals, trends, a list, one in full."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from math import isnan
from typing import Any

from rich.text import Text

from flows.cli.pages import print_page
from flows.cli.terminal import console, print_table, print_text, readable_count, sparkline
from flows.run_page.summary import describe_row, figures, how_to_publish
from infra.settings import load_settings
from infra.storage import Storage
from workers.partitions.manifest import Manifest, snapshots
from workers.partitions.outputs import sample_rows
from workers.partitions.states import DateState, PartitionState
from workers.report import (
    SIGNS,
    SUMS,
    calendar_days,
    make_day,
    reasons_set_aside,
    report_key,
    sum_up,
    trend_figures,
)

STYLES: Mapping[DateState, str] = {
    "published": "blue",
    "held": "yellow",
    "failed": "red",
    "damaged": "red",
    "unfinished": "cyan",
}
NEVER_RUN = "·"
SAMPLES = 10


def show_calendar(states: dict[str, list[PartitionState]]) -> None:
    """A sign for each day of the last six weeks."""
    days = calendar_days(today())
    weeks = [days[start : start + 7] for start in range(0, len(days), 7)]
    console.print("Six weeks, from Monday to Sunday", style="italic")
    width = max(map(len, states))
    mondays = [f"{date.fromisoformat(week[0]):%d %b} " for week in weeks]
    console.print(" " * width, *mondays, sep="  ")
    for job, found in states.items():
        by_day = defaultdict(list)
        for state in found:
            by_day[state.date].append(state)
        signs = [Text.assemble(*(sign_of(day, by_day[day]) for day in week)) for week in weeks]
        console.print(f"{job:<{width}}", *signs, sep="  ")
    console.print(", ".join(f"{sign} {state}" for state, sign in SIGNS.items()), style="dim")


def sign_of(day: str, states: Sequence[PartitionState]) -> tuple[str, str]:
    """The sign of a day and its style."""
    found = make_day(day, states)
    return found.sign or NEVER_RUN, STYLES.get(found.state, "dim")


def show_totals(states: dict[str, list[PartitionState]]) -> None:
    price = load_settings().price_per_hour
    rows = [(job, *sum_up(recent_manifests(found), price)) for job, found in states.items()]
    print_table("Their published nights", ["job", *SUMS, *(["cost"] if price else [])], rows)


def show_trend(states: Sequence[PartitionState]) -> None:
    """How figures moved over the nights of the calendar; prints nothing for a single night."""
    manifests = recent_manifests(list(reversed(states)))
    if len(manifests) < 2:
        return
    rows = [
        (name, sparkline(values), *span_cells(values))
        for name, values in trend_figures(manifests).items()
    ]
    print_table("How figures moved", ["figure", "night by night", "last", "range"], rows)


def recent_manifests(states: Sequence[PartitionState]) -> list[Manifest]:
    """The manifests of the partitions that the calendar shows, in the order given."""
    days = set(calendar_days(today()))
    return [state.manifest for state in states if state.manifest and state.date in days]


def span_cells(values: Sequence[float]) -> tuple[str, str]:
    """The last value and the range of all; empty where they are unknown."""
    known = [value for value in values if not isnan(value)]
    if not known:
        return "", ""
    last = "" if isnan(values[-1]) else f"{values[-1]:,.4g}"
    return last, f"{min(known):,.4g} to {max(known):,.4g}"


def today() -> date:
    return datetime.now(UTC).date()


def list_states(title: str, states: Sequence[PartitionState]) -> None:
    """A line for each partition; the model's version only where all are of one job."""
    jobs = {state.job for state in states}
    if len(jobs) == 1:
        columns = ["date", "state", "rows", "shards", "model", "at (UTC)"]
        rows = [
            (state.date, *state_cells(state), state.model, readable_minute(state.at))
            for state in states
        ]
        print_table(f"{title} of {jobs.pop()}", columns, rows)
    else:
        columns = ["job", "date", "state", "rows", "shards", "at (UTC)"]
        rows = [
            (state.job, state.date, *state_cells(state), readable_minute(state.at))
            for state in states
        ]
        print_table(title, columns, rows)
    for state in states:
        if state.reasons:
            why = "; ".join(state.reasons)
            print_text(f"{state.job} {state.date} is {state.state}: {why}")


def state_cells(state: PartitionState) -> tuple[str, str, str]:
    shards = "" if state.shards is None else f"{state.shards_done}/{state.shards}"
    return state.state, readable_count(state.rows), shards


def readable_minute(iso_time: str) -> str:
    """Month, day, hour and minute of an ISO time."""
    return iso_time[5:16].replace("T", " ")


def in_full(storage: Storage, state: PartitionState) -> dict[str, Any]:
    """All that is known of a partition, for scripts: also why rows were set aside, and its page."""
    if state.manifest is None:
        return asdict(state)
    key = report_key(state.job, state.date)
    return asdict(state) | {
        "set_aside": dict(reasons_set_aside(storage, state.manifest)),
        "report": key if storage.head(key) else None,
    }


def show_in_full(storage: Storage, state: PartitionState) -> None:
    if state.manifest is None:
        if state.state == "held":
            print_text(how_to_publish(state.job, state.date, state.fingerprint))
        return
    rows = [(row["figure"], row["value"]) for row in figures(state.manifest)]
    for reason, number in reasons_set_aside(storage, state.manifest):
        rows.append((f"set aside: {reason}", f"{number:,}"))
    for snapshot in snapshots(state.manifest):
        for item in snapshot.objects:
            rows.append((f"input {item.key}", f"{item.num_rows:,} rows"))
    rows += [(f"setting {name}", value) for name, value in state.manifest.settings.items()]
    print_table(f"{state.job} · {state.date}", ["figure", "value"], rows)
    console.print("Samples", style="italic")
    for row in sample_rows(storage, state.manifest, SAMPLES):
        console.print(f"  {next(iter(row.values()))}", style="bold", markup=False)
        print_text(f"    {describe_row(row)}")
    print_page(storage, state.job, state.date)
