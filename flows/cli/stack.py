"""The commands of the local stack: up, down, status, doctor."""

import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from flows.cli.terminal import JsonOption, console, print_json, print_table
from infra.errors import GenerationError
from infra.settings import load_settings, prefect_api_url

if TYPE_CHECKING:
    from flows.server.at_work import AtWork, RunAtWork
    from infra.local import StackStatus
    from infra.storage import Storage
    from workers.partitions.states import PartitionState


def say(text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)


def up() -> None:
    """Starts the local stack: an S3 server (SeaweedFS), a Prefect server with a worker, a Ray head
    node.

    Data lie below `.nightshift/`. S3 and Prefect listen on this machine only; Ray, which listens on
    all its addresses, wants its token. Safe to call twice.
    """
    from flows.server.deployments import register
    from infra.local import up as start_stack

    settings = load_settings()
    state = start_stack(settings, on_event=say)
    register(settings, state, on_event=say)
    tell(state)


def down() -> None:
    """Stops the local stack; its data stay and are there again after the next `nightshift up`."""
    from infra.local import down as stop_stack

    stop_stack(load_settings(), on_event=say)


def status(json: JsonOption = False) -> None:
    """Shows what runs of the local stack, which runs are at work, late or next, and each job's
    newest partition.

    Exit status 1 if any of the local stack does not run. Where everything runs elsewhere
    (PREFECT_API_URL is set, and there is no stack here), it tells of runs and partitions only.
    """
    from flows.cli.partitions import list_states
    from flows.server.at_work import look_at_work
    from infra.local import status as stack_status
    from infra.storage import open_storage

    settings = load_settings()
    state = stack_status(settings)
    is_elsewhere = not state.env_file.exists() and bool(prefect_api_url())
    is_up = is_elsewhere or state.is_running
    if not json and not is_elsewhere:
        tell(state)  # first: what is asked next may not answer
    work = look_at_work() if is_up else None
    newest = newest_states(open_storage(settings)) if is_up else []
    if json:
        print_json(
            asdict(state)
            | {
                "work": work and asdict(work),
                "newest": [asdict(replace(each, manifest=None)) for each in newest],
            }
        )
    else:
        if work:
            tell_work(work)
        if newest:
            list_states("Newest partitions", newest)
    if not is_up:
        sys.exit(GenerationError.exit_code)


def newest_states(storage: "Storage") -> "list[PartitionState]":
    """Of each job the newest partition of the last week."""
    from workers.jobs import JOBS
    from workers.partitions.states import list_partitions

    today = datetime.now(UTC).date()
    days = [(today - timedelta(days=number)).isoformat() for number in range(8)]
    found = (
        next((each for day in days for each in list_partitions(storage, job, day)), None)
        for job in JOBS
    )
    return [state for state in found if state]


def tell_work(work: "AtWork") -> None:
    rows = [
        (run.name, run.state, run.since and f"{run.since:%m-%d %H:%M}", *done_cells(run), run.page)
        for run in work.runs
    ]
    if rows:
        print_table("Runs at work", ["run", "state", "since (UTC)", "done", "", "page"], rows)
    else:
        say("No run is at work.")
    if work.late:
        say("Late: " + ", ".join(f"{number} of {name}" for name, number in work.late.items()))
    if work.scheduled:
        say(
            "Next: "
            + ", ".join(
                f"{each.name} at {each.at:%Y-%m-%d %H:%M} UTC" for each in work.scheduled if each.at
            )
        )


def done_cells(run: "RunAtWork") -> tuple[str, str]:
    return "" if run.progress is None else f"{run.progress:.0f} %", run.doing


def tell(state: "StackStatus") -> None:
    rows = [
        (
            item.name,
            "runs" if item.answers else "down",
            item.pid,
            item.port and f"127.0.0.1:{item.port}",
            item.log,
        )
        for item in state.processes
    ]
    print_table("Local stack", ["process", "state", "pid", "address", "log"], rows)
    say(f"Prefect UI: {state.ui_url}\nsettings and S3 keys for other programs: {state.env_file}")


def doctor(json: JsonOption = False) -> None:
    """Checks settings, what the store can do, Ray, Prefect, disk; says what to do. Exit status 1 if
    anything fails."""
    from infra.local.doctor import diagnose

    checks = diagnose(load_settings())
    if json:
        print_json([asdict(check) for check in checks])
    else:
        rows = [(check.state, check.name, check.found, check.remedy) for check in checks]
        print_table("Doctor", ["", "what", "found", "what to do"], rows)
    if any(check.state == "failed" for check in checks):
        sys.exit(GenerationError.exit_code)
