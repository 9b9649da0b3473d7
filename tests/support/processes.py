"""Inspects processes that may end at any moment; an ended one has no children and no title."""

from contextlib import suppress

import psutil


def descendants(process: psutil.Process) -> list[psutil.Process]:
    """All its descendants, the oldest of each generation first."""
    with suppress(psutil.Error):
        return process.children(recursive=True)
    return []


def title(process: psutil.Process) -> str:
    """Its command line, where Ray and Prefect write what it does."""
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def is_raylet(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.name() == "raylet"
    return False


def is_actor(process: psutil.Process, kind: str) -> bool:
    """Whether it runs an actor of the class, or the method (`Class.method`), that `kind` names.

    If calls overlap, the title names the one that began or ended last.
    """
    return title(process).startswith(f"ray::{kind}")


def raylet_below(head: psutil.Process) -> psutil.Process:
    return next(filter(is_raylet, descendants(head)))
