"""Nights on a folder, and on rclone's S3 server, which ignores conditional writes.

Also the lease of the Prefect server, which protects publishing on such a store.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from flows.server.exclusive import LEASE_S
from tests.integration.conftest import running_rclone
from tests.support.night import JOB, NUM_PRODUCTS, S3_KEYS, SLOWLY, Night, wait_until
from tests.support.reader import filesystem_of
from workers.partitions.leftovers import remove_leftovers

pytestmark = pytest.mark.timeout(900)
DAY = "2026-09-02"
NUM_PROCESSES, NUM_THREADS = 2, 2
NOTICED_WITHIN_S = 60
"""How long after the lease's end the server and the waiting process may take to notice."""
HOLD = """
import sys, time
from flows.server.exclusive import publishing_alone
with publishing_alone(sys.argv[1], "2026-10-25"):
    print(time.time(), flush=True)
    sys.stdin.readline()
"""
TAKE_TURNS = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from flows.server.exclusive import publishing_alone
def publish(name):
    with publishing_alone(sys.argv[1], "2026-10-25"):
        for word in ("in", "out"):
            with open(sys.argv[2], "a") as log:
                log.write(f"{word} {name}\\n")
            time.sleep(0.1)
with ThreadPoolExecutor() as threads:
    list(threads.map(publish, sys.argv[3:]))
"""


@dataclass(frozen=True, slots=True)
class Heir:
    """A process that waits for the lease of a killed one."""

    process: "subprocess.Popen[str]"
    killed_at: float


def start(night: Night, script: str, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", script, *words],
        cwd=night.folder,
        env=night.environment | night.variables,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


@pytest.fixture(scope="module")
def heir(night: Night) -> Iterator[Heir]:
    """Starts to wait before the module's first test, because the lease lasts longer than the
    tests."""
    holder = start(night, HOLD, "killed")
    assert holder.stdout is not None
    assert holder.stdout.readline()
    holder.kill()
    holder.communicate()
    heir = Heir(start(night, HOLD, "killed"), time.time())
    yield heir
    heir.process.kill()
    heir.process.communicate()


@pytest.fixture(params=["file", "rclone"], scope="module")
def other_night(
    request: pytest.FixtureRequest, night: Night, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Night]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "file":
        yield night.on_store((folder / "store").as_uri())
    else:
        with running_rclone(folder, *(night.variables[name] for name in S3_KEYS)) as server:
            yield night.on_store(
                f"s3://{server.bucket}/night", server.endpoint, checksums="when_required"
            )


def published_ids(night: Night) -> list[str]:
    """The ids of the date's rows, as a reader of the folder sees them."""
    filesystem, root = filesystem_of(night.storage)
    rows = ds.dataset(f"{root}/outputs/{JOB}/dt={DAY}", filesystem=filesystem).to_table()
    return sorted(rows["product_id"].to_pylist())


@pytest.mark.usefixtures("heir")
def test_publishers_take_turns(night: Night, tmp_path: Path) -> None:
    log = tmp_path / "turns"
    groups = [
        [f"{process}-{thread}" for thread in range(NUM_THREADS)] for process in range(NUM_PROCESSES)
    ]
    racers = [start(night, TAKE_TURNS, "busy", str(log), *group) for group in groups]
    assert [racer.wait(timeout=120) for racer in racers] == [0] * NUM_PROCESSES
    turns = [line.split() for line in log.read_text().splitlines()]
    assert [word for word, _ in turns] == ["in", "out"] * NUM_PROCESSES * NUM_THREADS
    assert all(
        entered == left for (_, entered), (_, left) in zip(turns[::2], turns[1::2], strict=True)
    )
    assert {name for _, name in turns} == {name for group in groups for name in group}


def test_a_night_is_published_once_survives_a_kill_and_is_superseded(
    other_night: Night, tmp_path: Path
) -> None:
    everything = sorted(f"p{number}" for number in range(NUM_PRODUCTS))
    output = other_night.run("run", JOB, "--date", DAY, *SLOWLY)
    assert "rows published" in output
    assert ("ignores conditional writes" in output) == other_night.storage.uri.startswith("s3://")
    undisturbed = other_night.manifest(DAY)
    assert published_ids(other_night) == everything
    assert "nothing changed since" in other_night.run("run", JOB, "--date", DAY, *SLOWLY)
    assert other_night.manifest(DAY) == undisturbed

    other_night.forget(DAY)
    victim = other_night.start("run", JOB, "--date", DAY, *SLOWLY)
    wait_until(lambda: other_night.num_parts(DAY) >= 3, "three parts", victim)
    os.killpg(victim.pid, 9)
    victim.communicate()
    assert "shards are already written" in other_night.run("run", JOB, "--date", DAY, *SLOWLY)
    resumed = other_night.manifest(DAY)
    assert [part["sha256"] for part in resumed["parts"]] == [
        part["sha256"] for part in undisturbed["parts"]
    ]
    assert published_ids(other_night) == everything

    pq.write_table(
        pq.read_table(other_night.folder / "products.parquet").slice(0, 20),
        tmp_path / "products.parquet",
    )
    other_night.run("inputs", "put", "catalog", str(tmp_path / "products.parquet"), "--replace")
    assert "20 rows published" in other_night.run("run", JOB, "--date", DAY)
    assert published_ids(other_night) == sorted(f"p{number}" for number in range(20))
    assert remove_leftovers(other_night.storage, JOB, DAY) == 0


def test_a_killed_publisher_does_not_block_others_for_long(heir: Heir) -> None:
    output, _ = heir.process.communicate("\n", timeout=LEASE_S + NOTICED_WITHIN_S)
    assert heir.process.returncode == 0
    assert float(output) - heir.killed_at < LEASE_S + NOTICED_WITHIN_S
