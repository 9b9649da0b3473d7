"""The command line. `main` is the entry point of `nightshift`; each other file holds the commands of one subject."""

import logging
import sys

from rich.console import Console

from infra.errors import NightshiftError
from infra.settings import activate_environment, set_console_log_level


def main() -> None:
    """Runs the command line; ends the process with the exit status that `infra.errors` gives the error."""
    activate_environment()
    set_console_log_level("WARNING" if sys.stderr.isatty() else "INFO")
    from flows.cli.app import app  # noqa: PLC0415  Prefect reads the environment when it is imported

    _leave_out_tracebacks()
    try:
        app()
    except NightshiftError as exc:
        Console(stderr=True, highlight=False).print(f"[bold red]error[/] {type(exc).__name__}:", end=" ")
        print(exc, file=sys.stderr)
        sys.exit(exc.exit_code)
    except KeyboardInterrupt:
        print("interrupted: finished shards are kept, the same command goes on from there", file=sys.stderr)
        sys.exit(130)


def _leave_out_tracebacks() -> None:
    """On the terminal an error is told once, in words; its traceback is in the run's log in the Prefect UI."""
    from prefect.logging.configuration import setup_logging  # noqa: PLC0415  as above

    setup_logging()
    for handler in logging.getLogger().handlers:
        handler.addFilter(lambda record: not record.exc_info)
