"""A publisher that stops right before it writes one object, as if paused for a very long time.

    python -m tests.support.zombie PLACE SEED

It prints the key, stops itself with SIGSTOP and, once it is woken, resumes and prints its outcome.
"""

import os
import signal
import sys
from typing import Any

from infra.errors import NightshiftError
from infra.settings import load_settings
from infra.storage import Storage, open_storage
from tests.unit.workers.partitions import test_publish as partition

PAUSED = "paused before "
LOST = ("another was first", "PreconditionFailed")


class PausedStorage:
    """The real store, except that the first put of a key that ends with `place` stops the
    process."""

    def __init__(self, storage: Storage, place: str) -> None:
        self._storage, self._place = storage, place

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def put(self, key: str, data: bytes, **options: Any) -> str:
        if self._place and key.endswith(self._place):
            self._place = ""
            print(f"{PAUSED}{key}", flush=True)
            os.kill(os.getpid(), signal.SIGSTOP)
        return self._storage.put(key, data, **options)


def main(place: str, seed: str) -> str:
    storage: Any = PausedStorage(open_storage(load_settings()), place)
    try:
        is_published = partition.run(storage, partition.a_plan(seed=int(seed)), "zombie")
    except NightshiftError as exc:
        return type(exc).__name__
    return "published" if is_published else LOST[0]


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
