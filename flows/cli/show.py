"""`nightshift show`: what the report pages tell, in the terminal. Needs storage, neither Ray nor
Prefect."""

from dataclasses import asdict
from typing import Annotated

import typer

from flows.cli.terminal import JsonOption, console, print_json
from infra.settings import load_settings


def show(
    job: Annotated[str, typer.Argument(help="A job; without it all of them.")] = "",
    date: Annotated[
        str, typer.Option(help="One date in full: figures, what was set aside, lineage, samples.")
    ] = "",
    last: Annotated[
        int, typer.Option(min=1, help="How many partitions are listed, the newest first.")
    ] = 20,
    json: JsonOption = False,
) -> None:
    """Shows partitions: six weeks at a glance, their states, rows, quality and lineage, from
    storage alone.

    Examples:

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
        console.print("nothing yet; `nightshift nightly` makes the first partitions")
        return
    if not day:
        partitions.show_calendar(states)
        partitions.show_sums(states)
        if job:
            partitions.show_trend(states[jobs[0]])
    partitions.list_states("Partitions", found[: None if day else last])
    if day:
        for state in found:
            partitions.show_in_full(storage, state)
    elif len(found) > last:
        console.print(f"and {len(found) - last:,} earlier ones: --last {len(found)}")
