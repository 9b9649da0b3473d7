"""A real autoscaler adds nodes, on this machine, for waiting actors and removes idle nodes."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import ray

from infra.errors import ServiceError
from infra.settings import NodeGroup, Settings
from infra.storage import Storage
from tests.support.night import wait_until
from tests.support.pool_runs import (
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
from tests.support.ray_cluster import Cluster, autoscaling_cluster, num_live_nodes
from tests.support.victims import kill_all
from workers.actors.cluster import ORDINARY, has_gpus, pool_size
from workers.actors.messages import LogLine, Watcher
from workers.generation.generate import generate_shards
from workers.partitions.parts import list_parts, part_key
from workers.plans.plan import Plan
from workers.registry.versions import ModelVersion
from workers.training.train import plan_training, train

DISK = NodeGroup(
    name="disk", max_nodes=2, resources={"CPU": 1, "scratch": 1}, labels={"disk": "ssd"}
)
GPU = NodeGroup(name="gpu", max_nodes=1, resources={"CPU": 2, "GPU": 1})
SPOT = NodeGroup(name="spot", max_nodes=2, resources={"CPU": 2, "spot": 1})
"""A group that the autoscaler does not know."""
NODE_WAIT_S = 3
SMALL = {
    "width": 32,
    "num_layers": 2,
    "num_heads": 2,
    "num_scored": 5,
    "cpu_budget_s": None,
    "max_steps": 10,
}
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    with autoscaling_cluster(
        tmp_path_factory.mktemp("cluster"), [DISK, GPU], request.param
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings with only the store."""
    return Settings(storage_uri=tmp_path_factory.mktemp("store").as_uri())


@pytest.fixture(scope="module")
def storage(store: Settings) -> Storage:
    return fill_store(store)


@pytest.fixture(scope="module")
def model(storage: Storage, tmp_path_factory: pytest.TempPathFactory) -> ModelVersion:
    return publish_small_model(storage, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def plan(storage: Storage, model: ModelVersion) -> Plan:
    return make(storage, model, "a", **SLOWLY)


@pytest.fixture
def fixed(cluster: Cluster, store: Settings) -> Settings:
    """Settings without the autoscaler's groups."""
    return store.model_copy(update={"ray_address": cluster.address})


@pytest.fixture
def settings(fixed: Settings) -> Settings:
    return fixed.model_copy(update={"node_groups": (DISK, GPU)})


@pytest.fixture(autouse=True)
def _nodes_go_when_nobody_needs_them(cluster: Cluster) -> Iterator[None]:
    yield
    assert not ray.util.list_named_actors(all_namespaces=True)
    assert {room["state"] for room in ray.util.placement_group_table().values()} <= {"REMOVED"}
    wait_until(lambda: num_live_nodes() == 1, "the end of nodes that are idle")


def all_live(num_nodes: int) -> bool:
    """Waits until `num_nodes` nodes are live, so that they join before the next shard is
    assigned."""
    return bool(wait_until(lambda: num_live_nodes() == num_nodes, f"{num_nodes} nodes"))


def kill_added_nodes(cluster: Cluster) -> bool:
    """Waits until all nodes of the group are live, then kills them with all their processes."""
    all_live(1 + DISK.max_nodes)
    added = cluster.raylets()[1:]
    kill_all(
        [process for raylet in added for process in [*raylet.children(recursive=True), raylet]]
    )
    return True


@pytest.mark.parametrize("cluster", ["v1", "v2"], indirect=True)
def test_nodes_are_added_for_actors_and_write_the_bytes_of_one_node(
    fixed: Settings, settings: Settings, storage: Storage, plan: Plan
) -> None:
    expected = hashes(Run(fixed, storage, plan).finish())
    placed = {"actor_resources": {"scratch": 1.0}, "actor_labels": {"disk": "ssd"}}
    with pytest.raises(
        ServiceError, match="needs 1 CPUs, 0 GPUs, 1 scratch and disk=ssd on one node, and no node"
    ):
        Run(fixed.model_copy(update=placed), storage, plan).finish()
    run = Run(
        settings.model_copy(update=placed),
        storage,
        plan,
        Once(1, lambda: all_live(1 + DISK.max_nodes)),
    )
    assert hashes(run.finish()) == expected
    assert run.said("shards on up to 2 actors")
    assert len(run.said(f"model {plan.model.version} on cpu")) == DISK.max_nodes
    assert run.warnings == []


@pytest.mark.parametrize("cluster", ["v2"], indirect=True)
def test_nodes_that_all_die_at_once_are_replaced(
    cluster: Cluster, fixed: Settings, settings: Settings, storage: Storage, plan: Plan
) -> None:
    expected = hashes(Run(fixed, storage, plan).finish())
    placed = settings.model_copy(update={"actor_resources": {"scratch": 1.0}})
    run = Run(placed, storage, plan, Once(3, lambda: kill_added_nodes(cluster)))
    assert hashes(run.finish()) == expected
    assert run.said("died")


@pytest.mark.parametrize("cluster", ["v2"], indirect=True)
def test_actors_share_the_gpu_of_an_added_node(
    cluster: Cluster, fixed: Settings, settings: Settings, storage: Storage, plan: Plan
) -> None:
    half = replace(plan, settings=plan.settings | {"num_gpus": 0.5})
    assert (has_gpus(fixed), has_gpus(settings)) == (False, True)
    with pytest.raises(ServiceError, match=r"needs 1 CPUs and 0\.5 GPUs on one node"):
        pool_size(fixed, 0, 100, 1, 0.5)
    alone = hashes(Run(settings, storage, half).finish(1))
    run = Run(settings, storage, half, Once(1, lambda: all_live(2)))
    assert hashes(run.finish()) == alone
    assert run.said("shards on up to 2 actors")
    assert len(run.said(f"model {plan.model.version} on cpu")) == 2


@pytest.fixture
def in_vain(fixed: Settings) -> Settings:
    """Settings that declare nodes which never come."""
    return fixed.model_copy(
        update={
            "node_groups": (DISK, SPOT),
            "actor_resources": {"spot": 1.0},
            "node_wait_s": NODE_WAIT_S,
        }
    )


REFUSAL = (
    rf"has waited {NODE_WAIT_S} s .* on one node; "
    r"there are 1 with 1 CPUs, 0 GPUs and 0 spot; .* declares 2 more of group disk with .*; "
    r"2 more of group spot with 2 CPUs, 0 GPUs and 1 spot\. .* Finished work is kept"
)


@pytest.mark.parametrize("cluster", ["v2"], indirect=True)
def test_a_run_whose_nodes_never_come_fails_and_keeps_finished_shards(
    fixed: Settings, in_vain: Settings, storage: Storage, plan: Plan
) -> None:
    expected = hashes(Run(fixed, storage, plan).finish())
    lost = plan.num_shards - 1
    storage.delete([part_key(plan, lost)])
    with pytest.raises(ServiceError, match=f"actor 0 {REFUSAL}"):
        generate_shards(in_vain, storage, plan, lambda line: None, lambda progress: None)
    assert list(list_parts(storage, plan.prefix)) == list(range(lost))
    assert (
        hashes(generate_shards(fixed, storage, plan, lambda line: None, lambda progress: None))
        == expected
    )


@pytest.mark.parametrize("cluster", ["v2"], indirect=True)
@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_training_whose_nodes_never_come_fails(
    cluster: Cluster, in_vain: Settings, storage: Storage, num_workers: int
) -> None:
    lines: list[LogLine] = []
    training = plan_training(storage, JOB.model, "gpt", DAY, SMALL | {"num_workers": num_workers})
    times = "2 times at once " if num_workers > 1 else ""
    with pytest.raises(
        ServiceError, match=f"training {REFUSAL}".replace("on one", f"needs {times}1 CPUs.*on one")
    ):
        train(in_vain, storage, training, Watcher(lines.append))
    assert lines == []


@pytest.mark.parametrize("cluster", ["v2"], indirect=True)
def test_a_background_run_waits_for_its_nodes_only_while_it_may_run(
    cluster: Cluster, in_vain: Settings, storage: Storage, plan: Plan
) -> None:
    num_checks: list[int] = []
    run = Run(
        in_vain,
        storage,
        plan,
        lambda progress: num_checks.append(len(run.said("another run needs the cluster"))),
    )
    other = ray.remote(threading.Event).options(num_cpus=0, name=f"{ORDINARY}other").remote()
    ray.get(other.is_set.remote())
    with ThreadPoolExecutor(1) as thread:
        ended = thread.submit(run.finish, background=True)
        wait_until(
            lambda: sum(num_checks) > 3 * NODE_WAIT_S,
            "checks, one a second, of a run that has paused",
        )
        assert not ended.done()
        ray.kill(other)
        with pytest.raises(ServiceError, match=f"actor 0 {REFUSAL}"):
            ended.result()
    assert len(run.said("the cluster is free again")) == 1
