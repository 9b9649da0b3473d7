"""Actors on a real Ray cluster are killed, stopped, starved and crowded out: all parts stay the
same."""

import inspect
import logging
import re
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

import psutil
import pytest
import ray

from infra.errors import GenerationError, ObjectNotFound, ServiceError
from infra.settings import NodeGroup, Settings
from infra.storage import Storage
from infra.storage.parquet import read_rows
from tests.support.night import wait_until
from tests.support.pool_runs import (
    CATALOGUES,
    DAY,
    JOB,
    SLOWLY,
    Once,
    Run,
    fill_store,
    hashes,
    make,
    publish_small_model,
)
from tests.support.ray_cluster import HEAD_CPUS, Cluster, running_cluster
from workers.actors.cluster import BACKGROUND, pool_size
from workers.actors.idle_actors import IDLE_ACTORS
from workers.actors.messages import LogLine, Watcher
from workers.actors.remote_actor import wait_for
from workers.generation.generate import Progress
from workers.partitions.parts import list_parts, part_key
from workers.plans.plan import Plan
from workers.registry.versions import ModelVersion, list_versions
from workers.training.train import plan_training, train

STALL_TIMEOUT_S = 20
LONG = SLOWLY | {"num_candidates": 1000, "temperature": 1.2}
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def settings(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    uri = tmp_path_factory.mktemp("store").as_uri()
    return Settings(
        storage_uri=uri, ray_address=cluster.address, num_actors=2, stall_timeout_s=STALL_TIMEOUT_S
    )


@pytest.fixture(scope="module")
def storage(settings: Settings) -> Storage:
    return fill_store(settings)


@pytest.fixture(scope="module")
def model(storage: Storage, tmp_path_factory: pytest.TempPathFactory) -> ModelVersion:
    return publish_small_model(storage, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def plan(storage: Storage, model: ModelVersion) -> Plan:
    return make(storage, model, "a", **SLOWLY)


@pytest.fixture(scope="module")
def undisturbed(settings: Settings, storage: Storage, plan: Plan) -> list[str]:
    """The SHA-256 of the parts of an undisturbed run."""
    return hashes(Run(settings, storage, plan).finish())


@pytest.fixture(scope="module")
def long_plan(storage: Storage, model: ModelVersion) -> Plan:
    """Enough work to interfere in the middle of the run, although actors and nodes start slowly."""
    return make(storage, model, "a", **LONG)


@pytest.fixture(scope="module")
def long_undisturbed(settings: Settings, storage: Storage, long_plan: Plan) -> list[str]:
    return hashes(Run(settings, storage, long_plan).finish())


@pytest.fixture(autouse=True)
def _no_actor_is_left(cluster: Cluster) -> Iterator[None]:
    yield
    assert not ray.util.list_named_actors(all_namespaces=True)


def signal_one(
    cluster: Cluster, number: signal.Signals, what: str = "GenerateActor.generate"
) -> bool:
    """Sends a signal to one actor that is seen at work; returns False if none is."""
    for process in cluster.actor_processes(what)[:1]:
        # a killed process stays visible until it has ended
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
            return True
    return False


@dataclass
class Reached:
    """An event that is set once `num_shards` shards are done."""

    num_shards: int
    event: threading.Event = field(default_factory=threading.Event)

    def __call__(self, progress: Progress) -> None:
        if progress.done_shards >= self.num_shards:
            self.event.set()


@contextmanager
def striking(
    cluster: Cluster, number: signal.Signals, reached: Reached, *, again: bool = False
) -> Iterator[None]:
    """Once `reached` is set, sends a signal to the first actor seen at work, or `again` and again.

    It watches from a thread: at the moments of progress an actor may never be seen at work, because
    its process is named after its last call.
    """
    is_over = threading.Event()

    def strike() -> None:
        while not is_over.wait(0.05):
            if reached.event.is_set() and signal_one(cluster, number) and not again:
                return

    thread = threading.Thread(target=strike)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def actors_at_work(cluster: Cluster, number: int, node: str = "") -> list[psutil.Process]:
    """Waits until `number` actors have been seen at work, not necessarily at the same moment.

    Each of them works until no shards are left.
    """
    seen: dict[int, psutil.Process] = {}

    def are_seen() -> bool:
        seen.update(
            (process.pid, process)
            for process in cluster.actor_processes("GenerateActor.generate", node)
        )
        return len(seen) == number

    wait_until(are_seen, f"{number} actors at work")
    return list(seen.values())


def test_a_killed_actor_is_replaced(
    cluster: Cluster, settings: Settings, storage: Storage, plan: Plan, undisturbed: list[str]
) -> None:
    run = Run(settings, storage, plan, reached := Reached(2))
    with striking(cluster, signal.SIGKILL, reached):
        assert hashes(run.finish()) == undisturbed
    (warning,) = run.warnings
    assert "died" in warning
    assert "retried on another actor" in warning


def test_a_stalled_actor_is_named_and_replaced(
    cluster: Cluster, settings: Settings, storage: Storage, plan: Plan, undisturbed: list[str]
) -> None:
    run = Run(settings, storage, plan, reached := Reached(2))
    with striking(cluster, signal.SIGSTOP, reached):
        receipts = run.finish()
    assert hashes(receipts) == undisturbed
    (wasted_s,) = [receipt.wasted_seconds for receipt in receipts if receipt.wasted_seconds]
    assert wasted_s > STALL_TIMEOUT_S
    assert len(run.warnings) == 1, run.warnings
    (warning,) = run.warnings
    node = ray.util.get_node_ip_address()
    assert f"on {node} made no progress for {STALL_TIMEOUT_S} s; shard" in warning


def starve(cluster: Cluster, spare_bytes: int) -> bool:
    """Limits the only actor to `spare_bytes` more memory than it has now."""
    found: list[psutil.Process] = []

    def is_alone() -> bool:  # an actor of the previous run may still be ending
        found[:] = cluster.actor_processes("GenerateActor")
        return len(found) == 1

    wait_until(is_alone, "a single actor")
    (process,) = found
    limit = process.memory_info().data + spare_bytes
    # not RLIMIT_AS, which counts memory that is only reserved
    process.rlimit(psutil.RLIMIT_DATA, (limit, limit))
    return True


needs_limits = pytest.mark.skipif(
    not hasattr(psutil, "RLIMIT_DATA"), reason="only Linux limits a running process"
)


ROOM_FOR_SOME_ROWS = 36 << 20
"""26 MiB are too little for one row; 33 and 40 MiB suffice for one, but not for eight."""
ROOM_FOR_NO_ROW = 8 << 20
"""For the larger rows of another test; 4 and 16 MiB also work. With 1 MiB the process dies at a
smaller allocation."""


@needs_limits
def test_a_batch_that_does_not_fit_into_memory_is_halved(
    cluster: Cluster, settings: Settings, storage: Storage, model: ModelVersion
) -> None:
    hungry = make(
        storage, model, "b", rows_per_shard=8, batch_rows=8, num_candidates=120, temperature=1.0
    )
    Run(settings, storage, hungry).finish(1)
    key = part_key(hungry, 1)
    expected = read_rows(storage, key).to_pylist()
    run = Run(settings, storage, hungry, Once(1, lambda: starve(cluster, ROOM_FOR_SOME_ROWS)))
    run.finish(1)
    assert run.said("out of memory with 8 rows at once; batches have 4 from now on")
    assert not run.said("another actor")
    rows = read_rows(storage, key).to_pylist()
    assert len(rows) == CATALOGUES["b"]
    # the size of a batch may change the last bits of a matrix product
    for row, other in zip(rows, expected, strict=True):
        assert row.pop("log_probability") == pytest.approx(other.pop("log_probability"), abs=1e-5)
        assert row == other


@needs_limits
def test_an_actor_without_memory_for_a_single_row_is_replaced(
    cluster: Cluster, settings: Settings, storage: Storage, model: ModelVersion
) -> None:
    hungry = make(
        storage, model, "c", rows_per_shard=2, batch_rows=1, num_candidates=900, temperature=3.0
    )
    expected = hashes(Run(settings, storage, hungry).finish(1))
    run = Run(settings, storage, hungry, Once(1, lambda: starve(cluster, ROOM_FOR_NO_ROW)))
    assert hashes(run.finish(1)) == expected
    (warning,) = run.warnings
    assert re.search("ran out of memory with row c[23] alone", warning)
    assert "shard 1 is retried on another actor" in warning


def test_a_shard_that_loses_three_actors_fails_and_the_others_are_kept(
    cluster: Cluster, settings: Settings, storage: Storage, model: ModelVersion
) -> None:
    # A high temperature makes candidates differ: each of forty rows takes a second or more.
    deadly = make(
        storage, model, "d", rows_per_shard=40, batch_rows=1, num_candidates=900, temperature=3.0
    )
    # The first shard's part is not enough to wait for: its actor may not have answered yet.
    run = Run(settings, storage, deadly, reached := Reached(1))
    with (
        striking(cluster, signal.SIGKILL, reached, again=True),
        pytest.raises(GenerationError) as failed,
    ):
        run.finish(1)
    message = str(failed.value)
    assert "1 shards failed 3 times. shard 1: actor 0 on " in message
    assert "lower batch_rows (now 1) or num_candidates (now 900)" in message, (
        "a killed process may have used too much memory"
    )
    assert len(run.said("shard 1 is retried on another actor")) == 2
    assert list(list_parts(storage, deadly.prefix)) == [0]


def test_actors_are_kept_for_the_next_partition_and_make_room_for_a_training(
    cluster: Cluster,
    settings: Settings,
    storage: Storage,
    plan: Plan,
    model: ModelVersion,
    undisturbed: list[str],
) -> None:
    other = Run(settings, storage, make(storage, model, "b", rows_per_shard=4))
    same = Run(settings, storage, plan)
    hungry = plan_training(
        storage, JOB.model, "gpt", DAY, SMALL | {"max_steps": 10, "num_threads": HEAD_CPUS}
    )
    with IDLE_ACTORS.kept():
        other.finish(1)
        (first,) = (process.pid for process in cluster.actor_processes("GenerateActor"))
        assert hashes(same.finish(1)) == undisturbed
        assert [process.pid for process in cluster.actor_processes("GenerateActor")] == [first]
        train(settings, storage, hungry, Watcher())
        assert not cluster.actor_processes("GenerateActor")
    assert len(other.said(f"model {model.version} on cpu")) == 1
    assert not same.said("model")


@contextmanager
def occupied(num_cpus: int) -> Iterator[None]:
    """Other work holds `num_cpus` CPUs of the head node, the only node so far."""
    other = ray.remote(threading.Event).options(num_cpus=num_cpus).remote()
    ray.get(other.is_set.remote())
    yield
    ray.kill(other)


def test_a_run_whose_actors_ray_kills_to_free_memory_fails_and_says_so(
    cluster: Cluster, settings: Settings, storage: Storage, plan: Plan
) -> None:
    run = Run(settings, storage, plan)
    full = {"RAY_memory_usage_threshold": "0.0001", "RAY_memory_monitor_refresh_ms": "100"}
    message = r"could not load its model 3 times: it died: .* low on memory"
    with (
        occupied(HEAD_CPUS),
        cluster.second_node(1, **full),
        pytest.raises(GenerationError, match=message),
    ):
        run.finish(1)
    assert len(run.said("another actor replaces it")) == 2


class Terminated(BaseException):
    """Like Prefect's TerminationSignal."""


def test_an_exception_of_a_signal_handler_is_raised_as_itself_while_waiting(
    cluster: Cluster,
) -> None:
    def terminate(*_: object) -> None:
        raise Terminated

    def send_once_it_waits() -> None:
        main = threading.main_thread().ident or 0
        wait_until(
            lambda: sys._current_frames()[main].f_code is inspect.unwrap(ray.wait).__code__,
            "ray.wait",
        )
        signal.raise_signal(signal.SIGTERM)

    other = ray.remote(threading.Event).options(num_cpus=0).remote()
    call = other.wait.remote()
    before = signal.signal(signal.SIGTERM, terminate)
    sender = threading.Thread(target=send_once_it_waits)
    sender.start()
    try:
        with pytest.raises(Terminated):
            wait_for([call], 60)
    finally:
        signal.signal(signal.SIGTERM, before)
        sender.join()
        ray.kill(other)


def test_a_request_that_can_never_be_met_fails_at_once(
    cluster: Cluster, settings: Settings
) -> None:
    assert [pool_size(settings, 0, 100, num_cpus, 0) for num_cpus in (1, 2, HEAD_CPUS)] == [
        HEAD_CPUS - 1,
        1,
        1,
    ]
    assert pool_size(settings, 1, 100, 1, 0) == pool_size(settings, 0, 1, 1, 0) == 1
    message = (
        rf"needs {HEAD_CPUS + 1} CPUs and 1 GPUs on one node, .* "
        rf"there are 1 with {HEAD_CPUS} CPUs and 0 GPUs"
    )
    with pytest.raises(ServiceError, match=message):
        pool_size(settings, 0, 100, HEAD_CPUS + 1, 1)


def test_a_node_that_joins_is_used(
    cluster: Cluster,
    settings: Settings,
    storage: Storage,
    long_plan: Plan,
    long_undisturbed: list[str],
) -> None:
    patient = settings.model_copy(update={"stall_timeout_s": 600, "num_actors": 0})
    run = Run(patient, storage, long_plan)
    with ThreadPoolExecutor(1) as thread:
        ended = thread.submit(run.finish)
        held = actors_at_work(cluster, HEAD_CPUS - 1)
        for process in held:
            process.suspend()
        with cluster.second_node(num_cpus=1) as node:
            actors_at_work(cluster, 1, node)
            for process in held:
                process.resume()
            assert hashes(ended.result()) == long_undisturbed
    assert run.said(f"the cluster has grown: {HEAD_CPUS} actors from now on")
    assert run.warnings == []


def test_no_shard_is_lost_with_a_node_and_the_same_run_uses_a_new_one(
    cluster: Cluster,
    settings: Settings,
    storage: Storage,
    long_plan: Plan,
    long_undisturbed: list[str],
) -> None:
    patient = settings.model_copy(update={"stall_timeout_s": 600, "num_actors": 0})
    run = Run(patient, storage, long_plan)
    with occupied(HEAD_CPUS - 1), ThreadPoolExecutor(1) as thread:
        with cluster.second_node(num_cpus=2) as node:
            ended = thread.submit(run.finish)
            (survivor,) = actors_at_work(cluster, 1, "ray")
            survivor.suspend()
            actors_at_work(cluster, 2, node)
            cluster.kill_node(node)
        with cluster.second_node(num_cpus=1) as node:
            actors_at_work(cluster, 1, node)
            survivor.resume()
            assert hashes(ended.result()) == long_undisturbed
    assert len(run.warnings) == 2
    for warning in run.warnings:
        assert "died" in warning
        assert "retried on another actor" in warning


def test_actors_that_wait_for_nodes_delay_nothing(
    settings: Settings, storage: Storage, plan: Plan, undisturbed: list[str]
) -> None:
    # this cluster has no autoscaler to add any
    late = NodeGroup(name="late", max_nodes=9, resources={"CPU": 1})
    hopeful = settings.model_copy(update={"num_actors": 0, "node_groups": (late,)})
    num_actors: list[int] = []
    run = Run(
        hopeful,
        storage,
        plan,
        lambda progress: num_actors.append(len(ray.util.list_named_actors(all_namespaces=True))),
    )
    assert hashes(run.finish()) == undisturbed
    assert run.said(f"{plan.num_shards} shards on up to {HEAD_CPUS + 9 - 1} actors")
    assert max(num_actors) > HEAD_CPUS
    assert num_actors[-1] <= HEAD_CPUS, (
        "few shards are left: waiting actors are ended, so that no node is added for nothing"
    )
    assert run.warnings == []


def test_a_background_run_pauses_and_resumes(
    settings: Settings,
    storage: Storage,
    model: ModelVersion,
    long_plan: Plan,
    long_undisturbed: list[str],
) -> None:
    background = Run(settings, storage, long_plan)
    num_background: list[int] = []

    def count(progress: Progress) -> None:
        names = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)]
        num_background.append(sum(name.startswith(BACKGROUND) for name in names))

    urgent = make(storage, model, "a", **LONG | {"seed": 1})
    ordinary = Run(settings, storage, urgent, count)
    with ThreadPoolExecutor(1) as thread:
        ended = thread.submit(background.finish, 2, background=True)
        wait_until(
            lambda: len(list_parts(storage, long_plan.prefix)) >= 2,
            "two shards of the background run",
        )
        assert len(ordinary.finish(2)) == urgent.num_shards
        assert num_background[-1] == 0
        assert len(list_parts(storage, long_plan.prefix)) < long_plan.num_shards
        assert hashes(ended.result()) == long_undisturbed
    assert len(background.said("another run needs the cluster")) == 1
    assert len(background.said("the cluster is free again")) == 1
    assert background.warnings == []


def test_a_model_that_cannot_be_loaded_fails_the_run_at_once(
    settings: Settings, storage: Storage, plan: Plan, model: ModelVersion
) -> None:
    broken = replace(model, version="broken", weights_sha256="0" * 64)
    storage.put(f"{broken.prefix}config.json", b"{}")
    run = Run(settings, storage, replace(plan, model=broken.pin))
    with pytest.raises(GenerationError, match=r"actor \d on .* failed: CheckpointError: "):
        run.finish(1)
    assert run.warnings == []


SMALL = {"max_steps": 400, "width": 32, "num_layers": 2, "num_heads": 2, "num_scored": 5}
LONG_STEPS = 2500
"""Enough steps that a training is still running when its progress arrives, once a second."""


def test_a_stalled_training_is_taken_over(
    cluster: Cluster, settings: Settings, storage: Storage
) -> None:
    lines: list[LogLine] = []
    stop = Once(0, lambda: signal_one(cluster, signal.SIGSTOP, "TrainActor"))
    watcher = Watcher(lines.append, lambda done: stop(Progress(0, 0, 0)) if done else None)
    training = plan_training(storage, JOB.model, "gpt", DAY, SMALL | {"max_steps": LONG_STEPS})
    version = train(settings, storage, training, watcher)
    assert version in list_versions(storage, JOB.model)
    node = ray.util.get_node_ip_address()
    (warning,) = [line.text for line in lines if line.level >= logging.WARNING]
    assert warning.startswith(
        f"training on {node} made no progress for {STALL_TIMEOUT_S} s; another actor takes over"
    )


def test_a_training_that_cannot_start_fails_at_once(settings: Settings, storage: Storage) -> None:
    lines: list[LogLine] = []
    training = plan_training(storage, JOB.model, "gpt", DAY, SMALL | {"max_steps": 10})
    gone = replace(training.snapshots[0].objects[0], key="inputs/copy_examples/gone.parquet")
    lost = replace(
        training, fingerprint="lost", snapshots=[replace(training.snapshots[0], objects=(gone,))]
    )
    with pytest.raises(ObjectNotFound, match=r"gone\.parquet"):
        train(settings, storage, lost, Watcher(lines.append))
    assert [line for line in lines if line.level >= logging.WARNING] == []
