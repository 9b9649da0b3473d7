"""Training with two workers on two nodes of a real Ray cluster: published once, whatever fails."""

import json
import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray

from aigc_models.checkpoint import read_tensors
from infra.errors import ObjectNotFound, ServiceError
from infra.settings import Settings
from infra.storage import Storage, open_storage
from infra.storage.parquet import encode
from tests.support.night import wait_until
from tests.support.ray_cluster import HEAD_CPUS, Cluster, running_cluster
from tests.support.victims import kill_all
from tests.unit.workers.kettle_texts import examples
from workers.actors.cluster import ACTOR_ENVIRONMENT
from workers.actors.messages import LogLine, Watcher
from workers.inputs.tables import ATTRIBUTES
from workers.registry.versions import ModelVersion, list_versions
from workers.training.train import plan_training, train
from workers.training.train_actor import Training

MODEL = "copywriter"
DAY = date(2026, 11, 22)
SMALL = {
    "width": 32,
    "num_layers": 2,
    "num_heads": 2,
    "num_scored": 5,
    "cpu_budget_s": None,
    "patience": 100,
}
STEPS = 200
SOME_STEPS, LONG_STEPS = 600, 1500
"""Enough steps that a training is still running when its progress arrives, once a second; and so
many that it has a checkpoint by then."""
HEAD, SECOND = "ray", "second"
SECOND_CPUS = 2
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    second_options = ["--labels=zone=b", '--resources={"scratch": 2}']
    with (
        running_cluster(tmp_path_factory.mktemp("cluster"), options=["--labels=zone=a"]) as cluster,
        cluster.second_node(SECOND_CPUS, second_options),
    ):
        yield cluster


@pytest.fixture(scope="module")
def settings(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        storage_uri=tmp_path_factory.mktemp("store").as_uri(), ray_address=cluster.address
    )


@pytest.fixture(scope="module")
def storage(settings: Settings) -> Storage:
    storage = open_storage(settings)
    texts = examples(300)
    facts = [
        [{"key": key, "value": value} for key, value in text.request.attributes] for text in texts
    ]
    columns = {"intent": ["inform"] * len(texts), "attributes": pa.array(facts, ATTRIBUTES)}
    table = pa.table(columns | {"reference": [text.reference for text in texts]})
    storage.put("inputs/copy_examples/a.parquet", encode(table, table.schema, {}))
    return storage


@pytest.fixture(autouse=True)
def _nothing_is_left(cluster: Cluster) -> Iterator[None]:
    """No actor is left, neither ours nor Ray Train's, and no placement group."""
    yield
    assert not ray.util.list_named_actors(all_namespaces=True)
    parts = ("Train", "RayTrain", "Synchronization", "PlacementGroup", "Dataset", "Preemption")
    wait_until(
        lambda: not any(cluster.actor_processes(part) for part in parts), "the end of all actors"
    )
    assert {room["state"] for room in ray.util.placement_group_table().values()} <= {"REMOVED"}
    wait_until(
        lambda: ray.available_resources()["CPU"] == ray.cluster_resources()["CPU"], "free room"
    )


@dataclass
class Run:
    """A training with two workers and its log lines.

    `meanwhile` is called at each progress until it returns True.
    """

    settings: Settings
    storage: Storage
    meanwhile: Callable[[], bool] = lambda: True
    lines: list[LogLine] = field(default_factory=list)
    fractions: list[float] = field(default_factory=list)
    is_done: bool = False

    def plan(self, **changes: int) -> Training:
        return plan_training(
            self.storage,
            MODEL,
            "gpt",
            DAY,
            SMALL | {"max_steps": STEPS, "num_workers": 2} | changes,
        )

    def finish(self, training: Training) -> ModelVersion:
        version = train(
            self.settings, self.storage, training, Watcher(self.lines.append, self.on_progress)
        )
        assert [
            found
            for found in list_versions(self.storage, MODEL)
            if found.training == training.fingerprint
        ] == [version]
        return version

    def on_progress(self, done: float) -> None:
        self.fractions.append(done)
        if done and not self.is_done:
            self.is_done = self.meanwhile()

    @property
    def warnings(self) -> list[str]:
        return [line.text for line in self.lines if line.level >= logging.WARNING]

    def said(self, what: str) -> list[str]:
        return [line.text for line in self.lines if what in line.text]


def test_two_workers_on_two_nodes_train_and_publish_one_version(
    cluster: Cluster, settings: Settings, storage: Storage
) -> None:
    environments: list[dict[str, str]] = []

    def look() -> bool:
        workers = [cluster.actor_processes("RayTrainWorker", node) for node in (HEAD, SECOND)]
        environments.extend(process.environ() for of_node in workers for process in of_node)
        return all(workers)

    run = Run(settings, storage, look)
    version = run.finish(run.plan(max_steps=SOME_STEPS))
    assert run.is_done
    assert all(environment.items() >= ACTOR_ENVIRONMENT.items() for environment in environments)
    assert version.metrics["steps"] == SOME_STEPS
    assert version.metrics["bleu"] > 0.5
    assert run.warnings == []
    assert len(run.said("learns from 300 examples")) == 1
    assert not list(storage.list("work/"))
    again = Run(settings, storage)
    assert again.finish(again.plan(max_steps=SOME_STEPS)) == version
    assert again.said("was already trained with the same data and settings")


@pytest.mark.parametrize(
    ("place", "seed"),
    [({"actor_labels": {"zone": "b"}}, 4), ({"actor_resources": {"scratch": 1.0}}, 5)],
)
def test_workers_run_on_the_node_with_the_labels_or_resources(
    cluster: Cluster, settings: Settings, storage: Storage, place: dict[str, Any], seed: int
) -> None:
    placed = settings.model_copy(update=place)
    num_on: dict[str, int] = {}
    left: list[float] = []

    def look() -> bool:
        num_on.update(
            (node, len(cluster.actor_processes("RayTrainWorker", node))) for node in (HEAD, SECOND)
        )
        left.append(ray.available_resources().get("scratch", 0.0))
        return True

    run = Run(placed, storage, look)
    with pytest.raises(
        ServiceError, match=rf"num_workers={SECOND_CPUS + 1} .* has room for {SECOND_CPUS}: "
    ):
        run.finish(run.plan(num_workers=SECOND_CPUS + 1))
    run.finish(run.plan(seed=seed, max_steps=SOME_STEPS))
    assert num_on == {HEAD: 0, SECOND: 2}
    assert left == [0.0 if "actor_resources" in place else 2.0]
    assert run.warnings == []


def test_a_training_that_loses_a_worker_resumes_from_the_last_checkpoint(
    cluster: Cluster, settings: Settings, storage: Storage, tmp_path: Path
) -> None:
    def kill_second_worker() -> bool:
        has_checkpoint = bool(list(storage.list(training.checkpoint_prefix)))
        victims = cluster.actor_processes("RayTrainWorker", SECOND) if has_checkpoint else []
        kill_all(victims)
        return bool(victims)

    run = Run(settings, storage, kill_second_worker)
    training = run.plan(max_steps=LONG_STEPS, checkpoint_every_s=1)
    saved: list[int] = []

    def on_line(line: LogLine) -> None:
        run.lines.append(line)
        if line.level == logging.WARNING:
            storage.download(training.checkpoint_prefix, tmp_path)
            saved.append(
                json.loads(read_tensors(tmp_path / "training.safetensors")[1]["counters"])["step"]
            )
            run.fractions.clear()

    version = train(settings, storage, training, Watcher(on_line, run.on_progress))
    assert [
        found for found in list_versions(storage, MODEL) if found.training == training.fingerprint
    ] == [version]
    (warning,) = run.warnings
    assert "lost worker 1" in warning
    assert "another actor takes over" in warning
    assert len(run.said("resuming from the last checkpoint")) == 1
    assert saved[0] > 0
    assert min(done for done in run.fractions if done) > saved[0] / LONG_STEPS
    assert version.metrics["steps"] == LONG_STEPS


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_two_workers_that_compile_their_networks_learn_as_well(
    settings: Settings, storage: Storage
) -> None:
    run = Run(settings, storage)
    version = run.finish(run.plan(torch_compile=True))
    assert version.metrics["steps"] == STEPS
    assert version.metrics["bleu"] > 0.5
    assert run.warnings == []


class CancelledError(Exception):
    pass


def test_a_cancelled_training_leaves_no_worker(settings: Settings, storage: Storage) -> None:
    def cancel() -> bool:
        raise CancelledError

    run = Run(settings, storage, cancel)
    with pytest.raises(CancelledError):
        run.finish(run.plan(max_steps=LONG_STEPS, seed=1))


def test_a_training_cancelled_while_waiting_releases_its_placement_group(
    settings: Settings, storage: Storage
) -> None:
    other = ray.remote(threading.Event).options(num_cpus=HEAD_CPUS).remote()
    ray.get(other.is_set.remote())
    run = Run(settings, storage)

    def cancel(done: float) -> None:
        rooms = [
            room for room in ray.util.placement_group_table().values() if room["state"] == "PENDING"
        ]
        if rooms:
            raise CancelledError

    with pytest.raises(CancelledError):
        train(
            settings,
            storage,
            run.plan(seed=3, num_workers=SECOND_CPUS + 1),
            Watcher(run.lines.append, cancel),
        )
    ray.kill(other)


def test_an_error_of_a_worker_fails_the_training_at_once(
    settings: Settings, storage: Storage
) -> None:
    run = Run(settings, storage)
    training = run.plan(seed=2)
    gone = replace(training.snapshots[0].objects[0], key="inputs/copy_examples/gone.parquet")
    lost = replace(
        training, fingerprint="lost", snapshots=[replace(training.snapshots[0], objects=(gone,))]
    )
    with pytest.raises(ObjectNotFound, match=r"gone\.parquet"):
        train(settings, storage, lost, Watcher(run.lines.append))
    assert run.warnings == []


def test_more_workers_than_the_cluster_can_hold_are_refused_at_once(
    settings: Settings, storage: Storage
) -> None:
    run = Run(settings, storage)
    with pytest.raises(
        ServiceError,
        match=r"num_workers=9 needs 9 times 1 CPUs .* "
        rf"has room for {HEAD_CPUS + SECOND_CPUS - 1}: .* Lower",
    ):
        run.finish(run.plan(num_workers=9))
    with pytest.raises(ServiceError, match=rf"needs {HEAD_CPUS + 1} CPUs"):
        run.finish(run.plan(num_threads=HEAD_CPUS + 1))
