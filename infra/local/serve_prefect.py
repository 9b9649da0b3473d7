"""`python -m prefect`, with Python's garbage collected in a thread of its own: how the stack runs
Prefect's server.

A request that breaks off, as when its client goes away, leaves a cursor of SQLite as garbage. To
end it takes the lock of its connection, which the next request may hold while it waits for the
database, up to a minute, and thereby for a transaction that waits for the event loop. If the loop
collects that cursor, the whole server stands still for the minute; a thread only waits itself.
"""

import gc
import itertools
import runpy
import threading
import time

COLLECT_EVERY_S = 1.0
OLD_EVERY = 30
"""So many collections of what is young, then one of everything."""


def _collect() -> None:
    for tick in itertools.count(1):
        time.sleep(COLLECT_EVERY_S)
        gc.collect(2 if tick % OLD_EVERY == 0 else 1)


if __name__ == "__main__":
    gc.disable()
    threading.Thread(target=_collect, name="garbage", daemon=True).start()
    runpy.run_module("prefect", run_name="__main__")
