"""Runs the command line in a process that kills itself at one of its changing calls to the store.

    python -m tests.support.killed_at STEP before|after run JOB …

Steps are the put, copy and delete calls of this process, counted from 1; each is printed. At step 0
it never kills itself.
"""

import functools
import os
import signal
import sys
import threading
from collections.abc import Callable
from itertools import count
from typing import Any

from flows.cli import main
from infra.storage.files import FileStorage
from infra.storage.s3 import S3Storage

CALLS = ("put", "put_file", "copy", "delete")
ANNOUNCEMENT = "changing call "


class Executioner:
    """Counts the calls that it watches, and kills the process with SIGKILL before or after one."""

    def __init__(self, step: int, side: str) -> None:
        self._step, self._side = step, side
        self._numbers = count(1)
        self._guard = threading.Lock()
        self._inside = threading.local()

    def watch(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def watched(storage: Any, *arguments: Any, **options: Any) -> Any:
            # calls that change nothing, or nothing of the date
            is_idle = arguments == ([],) or "_probe/" in str(arguments)
            # in a folder, `copy` calls `put_file`: both are one change
            if is_idle or getattr(self._inside, "call", False):
                return call(storage, *arguments, **options)
            self._inside.call = True
            try:
                with self._guard:
                    number = next(self._numbers)
                    what = arguments[-1] if call.__name__ == "copy" else arguments[0]
                    name = what if isinstance(what, str) else f"{len(what)} objects"
                    os.write(1, f"{ANNOUNCEMENT}{number}: {call.__name__} {name}\n".encode())
                    self._strike(number, "before")
                try:
                    return call(storage, *arguments, **options)
                finally:  # after a call that the store refused, too
                    self._strike(number, "after")
            finally:
                self._inside.call = False

        return watched

    def _strike(self, number: int, side: str) -> None:
        if (number, side) == (self._step, self._side):
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    step, side, *words = sys.argv[1:]
    executioner = Executioner(int(step), side)
    for kind in (S3Storage, FileStorage):
        for name in CALLS:
            setattr(kind, name, executioner.watch(getattr(kind, name)))
    sys.argv = ["nightshift", *words]
    main()
