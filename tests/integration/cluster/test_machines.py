"""Nights on machines with their own addresses, processes and files, one of which falls silent."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from infra.local import supervised
from infra.local.ports import LOOPBACK
from infra.local.seaweedfs import BUCKET, has_bucket
from tests.integration.conftest import seaweedfs_below
from tests.support import ports
from tests.support.machines import HEAD, Network, running_network
from tests.support.night import (
    JOB,
    NUM_PRODUCTS,
    S3_KEYS,
    SLOWER_SHARDS,
    SMALL_MODEL,
    Night,
    as_options,
    running_night,
    wait_until,
)

NUM_SHARDS = NUM_PRODUCTS // 3
pytestmark = pytest.mark.timeout(1500)


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with running_network() as network:
        yield network


@pytest.fixture(scope="module")
def night(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    """The stack on the network's head, with a store that all machines reach."""
    folder = tmp_path_factory.mktemp("night")
    with (
        running_night(folder, ports.NETWORK_S3) as night,
        running_store(folder / "store", night) as endpoint,
    ):
        yield night.on_store(f"s3://{BUCKET}/lan", endpoint)


@contextmanager
def running_store(folder: Path, night: Night) -> Iterator[str]:
    """SeaweedFS with the stack's keys, at the head's address in the network."""
    folder.mkdir()
    keys = tuple(night.variables[name] for name in S3_KEYS)
    spec, server = seaweedfs_below(folder, keys, ports.NETWORK_SEAWEEDFS)
    endpoint = server.endpoint.replace(LOOPBACK, HEAD)
    argv = [word.replace(LOOPBACK, HEAD) for word in spec.argv]
    supervised.start(replace(spec, argv=argv, is_ready=lambda: has_bucket(endpoint, *keys)), folder)
    try:
        yield endpoint
    finally:
        supervised.stop(spec.name, folder, timeout_s=0)


def published(night: Night, day: str) -> dict[str, bytes]:
    """The bytes of the published parts, by the name of their shard."""
    items = night.storage.list(f"outputs/{JOB}/dt={day}/part-")
    return {
        item.key.rpartition("/")[2][: len("part-000000")]: night.storage.get(item.key)
        for item in items
    }


def test_the_rows_stay_the_same_if_a_machine_falls_silent_and_another_joins(
    network: Network, night: Night
) -> None:
    day = "2026-10-01"
    night.run("run", JOB, "--date", day, *as_options(SLOWER_SHARDS))
    alone = published(night, day)
    assert len(alone) == NUM_SHARDS
    night.forget(day)

    only_machines = Night(
        night.folder, night.environment | {"NIGHTSHIFT_ACTOR_RESOURCES": '{"machine": 1}'}
    )
    with network.machine(2) as second, network.machine(3) as third, second.joined(night):
        run = only_machines.start("run", JOB, "--date", day, *as_options(SLOWER_SHARDS))
        wait_until(lambda: night.num_parts(day), "a part", run)
        second.power_off()
        assert night.num_parts(day) < NUM_SHARDS
        with third.joined(night):
            output, _ = run.communicate(timeout=900)
    assert run.returncode == 0, output
    assert f"on {second.address} died" in output
    assert "the cluster has grown" in output
    assert published(night, day) == alone


def test_training_on_two_machines_resumes_from_its_checkpoint_if_one_falls_silent(
    network: Network, night: Night
) -> None:
    settings = (*SMALL_MODEL, *as_options("max_steps=400 checkpoint_every_s=1 num_workers=2"))

    with (
        network.machine(4) as one,
        network.machine(5) as another,
        one.joined(night),
        another.joined(night),
    ):
        run = night.start("train", JOB, "--date", "2026-10-02", *settings)
        wait_until(lambda: list(night.storage.list("work/models/copywriter/")), "a checkpoint", run)
        found = [machine for machine in (one, another) if machine.runs("RayTrainWorker")]
        found[0].power_off()
        output, _ = run.communicate(timeout=900)
    assert run.returncode == 0, output
    assert len(found) == 1
    assert "another actor takes over" in output
    assert output.count("resuming from the last checkpoint") == 1
    assert "is ready after" in output
