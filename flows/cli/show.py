"""`nightshift show`: the report pages' figures in the terminal. Needs storage only."""

from dataclasses import asdict
from typing import Annotated

import typer

from flows.cli.terminal import JsonOption, print_json, print_text
from infra.settings import load_settings


def show(
    job: Annotated[str, typer.Argument(help="A job. Default: all of them.")] = "",
    date: Annotated[
        str,
        typer.Option(help="YYYY-MM-DD: figures, rows set aside, lineage and samples of that date."),
    ] = "",
    last: Annotated[
        int, typer.Option(min=1, help="How many partitions to list, newest first.")
    ] = 20,
    json: JsonOption = False,
) -> None:
    """Shows partitions: a calendar of six weeks, then their states and rows.

    Reads storage only, so it works while Prefect and Ray are down.

    Examples:

    `nightshift show`

    `nightshift show product_descriptions --date 2026-11-22`

    `nightshift show --json | jq '.[] | select(.state == "held")'`
    """
    from flows.cli import partitions
    from infra.storage import open_storage
    from workers.jobs import JOBS, find_job
    from workers.partitions.states import list_partitions
    from workers.pins import parse_date

    storage = open_storage(load_settings())
    jobs = [find_job(job).name] if job else list(JOBS)
    day = parse_date(date).isoformat() if date else ""
    states = {name: list_partitions(storage, name, day) for name in jobs}
    found = sorted(
        (state for each in states.values() for state in each),
        key=lambda state: state.date,
        reverse=True,
    )
    if json:
        print_json(
            [partitions.in_full(storage, state) if day else asdict(state) for state in found]
        )
        return
    if not found:
        print_text("nothing yet; `nightshift nightly` makes the first partitions")
        return
    if not day:
        partitions.show_calendar(states)
        partitions.show_totals(states)
        if job:
            partitions.show_trend(states[jobs[0]])
    partitions.list_states("Partitions", found[: None if day else last])
    if day:
        for state in found:
            partitions.show_in_full(storage, state)
    elif len(found) > last:
        print_text(f"and {len(found) - last:,} earlier ones: --last {len(found)}")
