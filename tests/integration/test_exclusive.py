"""Publishing under a lease of the Prefect server, for stores without conditional writes."""

import subprocess
import sys
from pathlib import Path

import pytest

from flows.exclusive import LEASE_S
from tests.integration.night import Night

pytestmark = pytest.mark.timeout(300)
NUM_PROCESSES, NUM_THREADS = 2, 2
NOTICED_WITHIN_S = 60
"""What the server takes beyond the lease to see that it is over, and the one who waits to ask again."""
HOLD = """
import sys
from flows.exclusive import publishing_alone
with publishing_alone(sys.argv[1], "2026-10-25"):
    print("in", flush=True)
    sys.stdin.readline()
"""
TAKE_TURNS = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from flows.exclusive import publishing_alone
def publish(name):
    with publishing_alone(sys.argv[1], "2026-10-25"):
        for word in ("in", "out"):
            with open(sys.argv[2], "a") as log:
                log.write(f"{word} {name}\\n")
            time.sleep(0.1)
with ThreadPoolExecutor() as threads:
    list(threads.map(publish, sys.argv[3:]))
"""


def start(night: Night, script: str, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", script, *words],
        cwd=night.folder,
        env=night.environment | night.variables,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def test_publishers_take_turns_and_one_that_is_killed_blocks_nobody_for_long(night: Night, tmp_path: Path) -> None:
    holder = start(night, HOLD, "killed")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "in\n"
    holder.kill()
    heir = start(night, HOLD, "killed")

    log = tmp_path / "turns"
    groups = [[f"{process}-{thread}" for thread in range(NUM_THREADS)] for process in range(NUM_PROCESSES)]
    racers = [start(night, TAKE_TURNS, "busy", str(log), *group) for group in groups]
    assert [racer.wait(timeout=120) for racer in racers] == [0] * NUM_PROCESSES
    turns = [line.split() for line in log.read_text().splitlines()]
    assert [word for word, _ in turns] == ["in", "out"] * NUM_PROCESSES * NUM_THREADS
    assert all(entered == left for (_, entered), (_, left) in zip(turns[::2], turns[1::2], strict=True))
    assert {name for _, name in turns} == {name for group in groups for name in group}

    output, _ = heir.communicate("\n", timeout=LEASE_S + NOTICED_WITHIN_S)
    assert output == "in\n"
