"""Partitions on the terminal: a calendar, sums, trends, lists, one in full."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from math import isnan
from typing import Any

from rich.text import Text

from flows.cli.terminal import console, print_table, readable_count, sparkline
from flows.run_page.summary import describe_row, figures, how_to_publish
from infra.settings import load_settings
from infra.storage import Storage
from workers.partitions.manifest import snapshots
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
LINK_EXPIRES_S = 24 * 3600


def show_calendar(states: dict[str, list[PartitionState]]) -> None:
    """A sign for each day of the last six weeks."""
    days = calendar_days(today())
    weeks = [days[start : start + 7] for start in range(0, len(days), 7)]
    console.print("Six weeks, from Monday to Sunday", style="italic")
    width = max(map(len, states))
    console.print(
        " " * width, *(f"{date.fromisoformat(week[0]):%d %b} " for week in weeks), sep="  "
    )
    for job, found in states.items():
        by_day = defaultdict(list)
        for state in found:
            by_day[state.date].append(state)
        signs = [Text.assemble(*(sign_of(day, by_day[day]) for day in week)) for week in weeks]
        console.print(f"{job:<{width}}", *signs, sep="  ")
    console.print(", ".join(f"{sign} {state}" for state, sign in SIGNS.items()), style="dim")


def sign_of(day: str, states: Sequence[PartitionState]) -> tuple[str, str]:
    found = make_day(day, states)
    return found.sign or NEVER_RUN, STYLES.get(found.state, "dim")


def show_sums(states: dict[str, list[PartitionState]]) -> None:
    price = load_settings().price_per_hour
    days = set(calendar_days(today()))
    rows = [
        (
            job,
            *sum_up(
                [state.manifest for state in found if state.manifest and state.date in days], price
            ),
        )
        for job, found in states.items()
    ]
    print_table("Their published nights", ["job", *SUMS, *(["cost"] if price else [])], rows)


def show_trend(states: Sequence[PartitionState]) -> None:
    """How figures moved over the nights of the calendar; nothing before the second one."""
    days = set(calendar_days(today()))
    manifests = [
        state.manifest for state in reversed(states) if state.manifest and state.date in days
    ]
    if len(manifests) > 1:
        rows = [
            (name, sparkline(values), *span_cells(values))
            for name, values in trend_figures(manifests).items()
        ]
        print_table(
            "How figures moved", ["figure", "night by night", "last", "least", "most"], rows
        )


def span_cells(values: Sequence[float]) -> list[str]:
    """The last value, the least and the most; empty where none is known."""
    known = [value for value in values if not isnan(value)]
    shown = [values[-1], min(known), max(known)] if known else []
    return ["" if isnan(value) else f"{value:,.4g}" for value in shown] or [""] * 3


def today() -> date:
    return datetime.now(UTC).date()


def list_states(title: str, states: Sequence[PartitionState]) -> None:
    rows = [
        (
            state.job,
            state.date,
            state.state,
            readable_count(state.rows),
            f"{state.shards_done}/{state.shards}",
            state.model,
            state.at,
            "; ".join(state.reasons),
        )
        for state in states
    ]
    print_table(title, ["job", "date", "state", "rows", "shards", "model", "at", "why"], rows)


def in_full(storage: Storage, state: PartitionState) -> dict[str, Any]:
    """For scripts: also what was set aside and the key of the page."""
    manifest = state.manifest
    more = (
        {
            "set_aside": dict(reasons_set_aside(storage, manifest)),
            "report": report_of(storage, state),
        }
        if manifest
        else {}
    )
    return asdict(state) | more


def report_of(storage: Storage, state: PartitionState) -> str | None:
    key = report_key(state.job, state.date)
    return key if storage.head(key) else None


def show_in_full(storage: Storage, state: PartitionState) -> None:
    if state.manifest is None:
        if state.state == "held":
            console.print(
                how_to_publish(state.job, state.date, state.fingerprint),
                markup=False,
                soft_wrap=True,
            )
        return
    rows = [(row["figure"], row["value"]) for row in figures(state.manifest)]
    rows += [
        (f"set aside: {reason}", f"{number:,}")
        for reason, number in reasons_set_aside(storage, state.manifest)
    ]
    rows += [
        (f"input {item.key}", item.etag)
        for each in snapshots(state.manifest)
        for item in each.objects
    ]
    rows += [(f"setting {name}", value) for name, value in state.manifest.settings.items()]
    print_table(f"{state.job} · {state.date}", ["figure", "value"], rows)
    console.print("Samples", style="italic")
    for row in sample_rows(storage, state.manifest, SAMPLES):
        console.print(f"  {next(iter(row.values()))}", style="bold", markup=False)
        console.print(f"    {describe_row(row)}", markup=False, soft_wrap=True)
    report = report_of(storage, state)
    if report:
        console.print(
            f"Report: {storage.presign(report, LINK_EXPIRES_S)}", markup=False, soft_wrap=True
        )
