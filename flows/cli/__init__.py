"""The command line. `main` is the entry point of `nightshift`; each other file holds the commands
of one subject."""

import sys

from rich.console import Console

from infra.errors import NightshiftError
from infra.settings import activate_environment, set_console_log_level

INTERRUPTED = 130
"""The status that Typer ends with after Ctrl-C."""


def main() -> None:
    """Runs the command line; ends the process with the exit status that `infra.errors` gives the
    error."""
    activate_environment()
    set_console_log_level("WARNING" if sys.stderr.isatty() else "INFO")
    from flows.cli.app import app

    try:
        app()
    except NightshiftError as exc:
        Console(stderr=True, highlight=False).print(
            f"[bold red]error[/] {type(exc).__name__}:", end=" "
        )
        print(exc, file=sys.stderr)
        end(exc.exit_code)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            print(
                "interrupted: finished shards are kept, the same command goes on from there",
                file=sys.stderr,
            )
        end(ended.code)


def end(status: str | int | None) -> None:
    """Ends the process; at once if it ran a flow whose server has stayed away."""
    if "flows.server.health" in sys.modules:
        from flows.server.health import leave_if_away

        leave_if_away(status if isinstance(status, int) else int(bool(status)))
    sys.exit(status)
