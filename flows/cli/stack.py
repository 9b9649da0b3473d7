"""The commands of the local stack: up, down, status, doctor."""

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from flows.cli.terminal import console, print_json, print_table
from infra.errors import GenerationError
from infra.local import StackStatus
from infra.local import down as stop_stack
from infra.local import status as stack_status
from infra.local import up as start_stack
from infra.settings import load_settings

JsonOption = Annotated[bool, typer.Option("--json", help="For scripts.")]


def say(text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)


def up() -> None:
    """Starts the local stack: an S3 server (SeaweedFS), a Prefect server with a worker, a Ray head node.

    Everything lies below `.nightshift/` and listens on this machine only, Ray with its token. Safe to call twice.
    """
    from flows.deployments import register

    settings = load_settings()
    state = start_stack(settings, on_event=say)
    register(settings, state, on_event=say)
    tell(state)


def down() -> None:
    """Stops the local stack; its data stay and are there again after the next `nightshift up`."""
    stop_stack(load_settings(), on_event=say)


def status(json: JsonOption = False) -> None:
    """Shows what of the local stack runs, and where. Exit status 1 if any of it does not."""
    state = stack_status(load_settings())
    if json:
        print_json(asdict(state))
    else:
        tell(state)
    if not state.is_running:
        sys.exit(GenerationError.exit_code)


def tell(state: StackStatus) -> None:
    rows = [
        (item.name, "runs" if item.answers else "down", item.pid, item.port and f"127.0.0.1:{item.port}", item.log)
        for item in state.processes
    ]
    print_table("Local stack", ["process", "state", "pid", "address", "log"], rows)
    say(f"Prefect UI: {state.ui_url}\nsettings and S3 keys for other programs: {state.env_file}")


def doctor(json: JsonOption = False) -> None:
    """Checks settings, what the store can do, Ray, Prefect, disk; says what to do. Exit status 1 if anything fails."""
    from infra.local.doctor import diagnose

    checks = diagnose(load_settings())
    if json:
        print_json([asdict(check) for check in checks])
    else:
        rows = [(check.state, check.name, check.found, check.remedy) for check in checks]
        print_table("Doctor", ["", "what", "found", "what to do"], rows)
    if any(check.state == "failed" for check in checks):
        sys.exit(GenerationError.exit_code)
