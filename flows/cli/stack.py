"""The commands of the local stack: up, down, status, doctor."""

import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from flows.cli.terminal import JsonOption, link, print_json, print_table, print_text
from infra.errors import GenerationError
from infra.settings import load_settings, prefect_api_url

if TYPE_CHECKING:
    from flows.server.at_work import AtWork, RunAtWork
    from infra.local.stack import StackStatus
    from infra.storage import Storage
    from workers.partitions.states import PartitionState


def up() -> None:
    """Starts the local stack: an S3 server (SeaweedFS), a Prefect server and worker, a Ray head.

    Starts only what is not running. Data go below `.nightshift/`. S3 and Prefect accept connections
    from this machine only; Ray accepts them from any machine that has its token.

    Exit status: 0 everything runs; 1 a process did not start.

    Example: `nightshift up`
    """
    from flows.server.deployments import register
    from infra.local.stack import up as start_stack

    settings = load_settings()
    state = start_stack(settings, on_event=print_text)
    register(settings, state, on_event=print_text)
    print_stack(state)


def down() -> None:
    """Stops the local stack and keeps its data for the next `nightshift up`.

    Example: `nightshift down`
    """
    from infra.local.stack import down as stop_stack

    stop_stack(load_settings(), on_event=print_text)


def status(json: JsonOption = False) -> None:
    """Shows the processes of the local stack, the runs, and each job's newest partition.

    Without a local stack (PREFECT_API_URL is set and there is no stack here) it shows runs and
    partitions only.

    Exit status: 0 the stack runs; 1 some process of it does not.

    Example: `nightshift status --json`
    """
    from flows.cli.partitions import list_states
    from flows.server.at_work import look_at_work
    from infra.local.stack import status as stack_status
    from infra.storage import open_storage

    settings = load_settings()
    state = stack_status(settings)
    is_elsewhere = not state.env_file.exists() and bool(prefect_api_url())
    is_up = is_elsewhere or state.is_running
    if not json and not is_elsewhere:
        print_stack(state)  # first, because the server may not answer
    work = look_at_work() if is_up else None
    newest = newest_states(open_storage(settings)) if is_up else []
    if json:
        partitions = [asdict(replace(each, manifest=None)) for each in newest]
        print_json(asdict(state) | {"work": work and asdict(work), "newest": partitions})
    else:
        if work:
            print_work(work)
        if newest:
            list_states("Newest partitions", newest)
    if not is_up:
        sys.exit(GenerationError.exit_code)


def newest_states(storage: "Storage") -> "list[PartitionState]":
    """The newest partition of each job in the last week."""
    from workers.jobs import JOBS

    found = (newest_state(storage, job) for job in JOBS)
    return [state for state in found if state]


def newest_state(storage: "Storage", job: str) -> "PartitionState | None":
    from workers.partitions.states import list_partitions

    today = datetime.now(UTC).date()
    for age in range(8):
        for state in list_partitions(storage, job, (today - timedelta(days=age)).isoformat()):
            return state
    return None


def print_work(work: "AtWork") -> None:
    from flows.server.health import ui_url

    if work.runs:
        columns = ["run", "state", "since (UTC)", "done", "now"]
        print_table("Runs at work", columns, [run_cells(run) for run in work.runs])
        print_text(f"Pages of the runs: {ui_url()}/runs")
    else:
        print_text("No run is at work.")
    if work.late:
        late = (f"{number} of {name}" for name, number in work.late.items())
        print_text(f"Late: {', '.join(late)}")
    if work.scheduled:
        starts = (
            f"{each.name} at {each.at:%Y-%m-%d %H:%M} UTC" for each in work.scheduled if each.at
        )
        print_text(f"Next: {', '.join(starts)}")


def run_cells(run: "RunAtWork") -> tuple[object, ...]:
    since = run.since and f"{run.since:%m-%d %H:%M}"
    done = "" if run.progress is None else f"{run.progress:.0f} %"
    return link(run.name, run.page), run.state, since, done, run.doing


def print_stack(state: "StackStatus") -> None:
    rows = []
    for process in state.processes:
        address = process.port and f"127.0.0.1:{process.port}"
        rows.append((process.name, "runs" if process.answers else "down", process.pid, address))
    print_table("Local stack", ["process", "state", "pid", "address"], rows)
    print_text(f"Prefect UI: {state.ui_url}")
    print_text(f"Logs: {state.processes[0].log.parent}")
    print_text(f"Settings and S3 keys for other programs: {state.env_file}")


def doctor(json: JsonOption = False) -> None:
    """Checks settings, storage, Ray, Prefect, disk and device; says how to repair what fails.

    Changes nothing but an object that it writes to test the store and deletes again.

    Exit status: 0 everything passed, perhaps with warnings; 1 a check failed.

    Example: `nightshift doctor`
    """
    from infra.local.doctor import diagnose

    checks = diagnose(load_settings())
    if json:
        print_json([asdict(check) for check in checks])
    else:
        rows = [(check.state, check.name, check.found, check.remedy) for check in checks]
        print_table("Doctor", ["state", "check", "found", "what to do"], rows)
    if any(check.state == "failed" for check in checks):
        sys.exit(GenerationError.exit_code)
