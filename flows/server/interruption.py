"""Cancelling and Ctrl-C for subflow runs in threads.

Signals reach the main thread only. It leaves what they raised in an `Interruption`, and the
threads, which inherit the context, raise it too: they look about once a second while they wait for
actors. Leaving the pool then frees the actors.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Interruption:
    """What ended the main thread's part of the work; None as long as it goes on."""

    def __init__(self) -> None:
        self.cause: BaseException | None = None


_current: ContextVar[Interruption | None] = ContextVar("interruption", default=None)


@contextmanager
def interrupting_threads() -> Iterator[None]:
    """Within it, threads that were given a copy of the context end as soon as this thread leaves it
    by an exception."""
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
    """Raises what the main thread was interrupted by, if it was."""
    interruption = _current.get()
    if interruption is not None and interruption.cause is not None:
        raise _likeness(interruption.cause)


def _likeness(cause: BaseException) -> BaseException:
    """Another exception like it, so that threads do not share a traceback; `copy` fails on
    Prefect's signals."""
    like = type(cause).__new__(type(cause), *cause.args)
    like.__dict__.update(cause.__dict__)
    return like
