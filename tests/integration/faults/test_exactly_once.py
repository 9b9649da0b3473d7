"""Publishing on every kind of store: the same promises, races of real processes, late writers."""

import inspect
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from infra.errors import PreconditionFailed
from infra.settings import Settings, child_environment
from infra.storage import Storage, open_storage
from tests.support.night import wait_until
from tests.support.zombie import LOST, PAUSED
from tests.unit.workers.partitions import test_publish as partition
from workers.partitions.manifest import is_whole

PROMISES = {name: check for name, check in vars(partition).items() if name.startswith("test_")}
NEED_CONDITIONAL_WRITES = {
    "test_a_late_write_of_other_bytes_is_refused_and_changes_nothing",
    "test_of_two_publishers_of_different_plans_the_late_one_fails",
}
NUM_PUBLISHERS = 4


@pytest.fixture(params=["s3", "file", "rclone"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of an empty store, once per kind."""
    if request.param == "file":
        return Settings(storage_uri=(tmp_path / "store").as_uri())
    server = request.getfixturevalue("seaweedfs" if request.param == "s3" else "rclone")
    return server.settings(tmp_path.name)


def require_conditional_writes(storage: Storage) -> None:
    if not storage.probe().conditional_put:
        pytest.skip("this store ignores conditional writes")


@pytest.mark.parametrize("name", PROMISES)
def test_the_promises_of_publishing_hold_on_every_store(
    name: str, store: Settings, request: pytest.FixtureRequest
) -> None:
    storage = open_storage(store)
    if name in NEED_CONDITIONAL_WRITES:
        require_conditional_writes(storage)
    wanted = inspect.signature(PROMISES[name]).parameters
    given = {
        word: storage if word == "storage" else request.getfixturevalue(word) for word in wanted
    }
    assert PROMISES[name](**given) is None  # the promise makes its own assertions


@pytest.mark.parametrize("num_plans", [1, NUM_PUBLISHERS], ids=["same-plan", "other-plans"])
def test_one_of_several_concurrent_publishers_wins_and_the_others_know(
    store: Settings, num_plans: int
) -> None:
    require_conditional_writes(open_storage(store))
    barrier = threading.Barrier(NUM_PUBLISHERS)

    def publish(number: int) -> str:
        storage = open_storage(store)
        barrier.wait()
        try:
            is_ours = partition.run(
                storage, partition.a_plan(seed=number % num_plans), f"run {number}", before=None
            )
        except PreconditionFailed:
            return "lost"
        return "won" if is_ours else "lost"

    with ThreadPoolExecutor(NUM_PUBLISHERS) as threads:
        ends = list(threads.map(publish, range(NUM_PUBLISHERS)))
    assert sorted(ends) == ["lost"] * (NUM_PUBLISHERS - 1) + ["won"]
    storage, winner = open_storage(store), ends.index("won")
    published = partition.read(storage, partition.a_plan(seed=winner % num_plans))
    assert published.manifest.run == f"run {winner}"
    assert is_whole(storage, published.manifest)
    assert len(partition.published_parts(storage)) == len(published.manifest.part_keys)


@pytest.mark.parametrize("seed", [0, 1], ids=["same-plan", "other-plan"])
@pytest.mark.parametrize("place", ["part-000001.parquet", "_SUCCESS"])
def test_a_zombie_that_writes_late_changes_nothing_and_says_that_it_lost(
    store: Settings, place: str, seed: int
) -> None:
    storage = open_storage(store)
    require_conditional_writes(storage)
    zombie = start_zombie(store, place, seed)
    assert zombie.stdout is not None
    try:
        assert zombie.stdout.readline().startswith(PAUSED)
        wait_until(
            lambda: psutil.Process(zombie.pid).status() == psutil.STATUS_STOPPED, "the pause"
        )
        assert partition.run(storage, partition.a_plan(), "ours")
        before = published_objects(storage)
        psutil.Process(zombie.pid).resume()
        words, _ = zombie.communicate(timeout=60)
    finally:
        zombie.kill()
        zombie.wait()
    assert words.splitlines()[-1] in LOST
    assert published_objects(storage) == before
    assert partition.read(storage, partition.a_plan()).manifest.run == "ours"


def start_zombie(store: Settings, place: str, seed: int) -> "subprocess.Popen[str]":
    variables = {
        "NIGHTSHIFT_STORAGE_URI": store.storage_uri,
        "NIGHTSHIFT_S3_ENDPOINT_URL": store.s3_endpoint_url or "",
        "NIGHTSHIFT_S3_ADDRESSING_STYLE": store.s3_addressing_style,
    }
    command = [sys.executable, "-m", "tests.support.zombie", place, str(seed)]
    return subprocess.Popen(
        command, env=child_environment(**variables), text=True, stdout=subprocess.PIPE
    )


def published_objects(storage: Storage) -> dict[str, tuple[str, bytes]]:
    return {item.key: (item.etag, storage.get(item.key)) for item in storage.list("outputs/")}
