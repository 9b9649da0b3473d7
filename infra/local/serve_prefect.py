"""`python -m prefect`, with garbage collection in its own thread: runs the stack's Prefect server.

A request whose client disconnects leaves an SQLite cursor as garbage. Collecting the cursor takes
its connection's lock. The next request may hold that lock for up to a minute, while it waits for a
transaction that in turn waits for the event loop. If the event loop collects the cursor, the server
hangs for that minute; a separate thread only blocks itself.
"""

import gc
import itertools
import runpy
import threading
import time

COLLECT_EVERY_S = 1.0
OLD_EVERY = 30
"""Every so many collections of young objects, one collects all objects."""


def _collect() -> None:
    for tick in itertools.count(1):
        time.sleep(COLLECT_EVERY_S)
        gc.collect(2 if tick % OLD_EVERY == 0 else 1)


if __name__ == "__main__":
    gc.disable()
    threading.Thread(target=_collect, name="garbage", daemon=True).start()
    runpy.run_module("prefect", run_name="__main__")
