"""Cancelling and Ctrl-C for subflow runs in threads.

Signals reach the main thread only. It stores what they raised in an `Interruption`. The threads
inherit the context, check it about once a second while they wait for actors, and raise the same
exception. Leaving the pool then frees the actors.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Interruption:
    """What ended the main thread's work; `cause` is None while it continues."""

    def __init__(self) -> None:
        self.cause: BaseException | None = None


_current: ContextVar[Interruption | None] = ContextVar("interruption", default=None)


@contextmanager
def interrupting_threads() -> Iterator[None]:
    """Within it, an exception of this thread also ends the threads that have a copy of its
    context."""
    interruption = Interruption()
    token = _current.set(interruption)
    try:
        yield
    except BaseException as exc:
        interruption.cause = exc
        raise
    finally:
        _current.reset(token)


def check_interruption() -> None:
    """Raises the main thread's exception if it was interrupted."""
    interruption = _current.get()
    if interruption is not None and interruption.cause is not None:
        raise _likeness(interruption.cause)


def _likeness(cause: BaseException) -> BaseException:
    """Another exception like it, so that threads do not share a traceback; `copy` fails on
    Prefect's signals."""
    like = type(cause).__new__(type(cause), *cause.args)
    like.__dict__.update(cause.__dict__)
    return like
