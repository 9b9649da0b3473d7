"""Looks at processes that may end at any moment: of one that has, there is nothing to be seen."""

from contextlib import suppress

import psutil


def descendants(process: psutil.Process) -> list[psutil.Process]:
    """All below it, the oldest of each generation first."""
    with suppress(psutil.Error):
        return process.children(recursive=True)
    return []


def title(process: psutil.Process) -> str:
    """Its command line, in which Ray and Prefect say what it does."""
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def is_raylet(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.name() == "raylet"
    return False


def is_actor(process: psutil.Process, kind: str) -> bool:
    """Whether it runs an actor of the class `kind`, or its method `kind` (`Class.method`): of
    several calls at once the one that began or ended last gives the name."""
    return title(process).startswith(f"ray::{kind}")


def raylet_below(head: psutil.Process) -> psutil.Process:
    return next(filter(is_raylet, descendants(head)))
