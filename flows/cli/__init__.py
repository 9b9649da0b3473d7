"""The command line. `main` is the entry point of `nightshift`; each file here holds the commands of
one subject."""

import sys

from rich.console import Console

from infra.errors import NightshiftError
from infra.settings import activate_environment, set_console_log_level

INTERRUPTED = 130
"""Typer's exit status after Ctrl-C."""


def main() -> None:
    """Runs the command line; the exit status is the one that `infra.errors` gives the error."""
    activate_environment()
    set_console_log_level("WARNING" if sys.stderr.isatty() else "INFO")
    # Prefect and Ray read the environment when they are imported: only now.
    from flows.cli.app import app

    try:
        app()
    except NightshiftError as exc:
        name = type(exc).__name__
        Console(stderr=True, highlight=False).print(f"[bold red]error[/] {name}:", end=" ")
        print(exc, file=sys.stderr)
        exit_with(exc.exit_code)
    except SystemExit as exc:
        if exc.code == INTERRUPTED:
            print(
                "interrupted: finished shards are kept, and the same command resumes them",
                file=sys.stderr,
            )
        exit_with(exc.code)


def exit_with(status: str | int | None) -> None:
    """Exits; at once if a flow ran here and its Prefect server is still away."""
    if "flows.server.health" in sys.modules:
        from flows.server.health import exit_now_if_away

        exit_now_if_away(status if isinstance(status, int) else int(bool(status)))
    sys.exit(status)
