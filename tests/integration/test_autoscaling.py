"""A real autoscaler that adds real nodes, on this machine, for actors that wait and removes them when they are idle."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import ray

from infra.errors import ServiceError
from infra.settings import NodeGroup, Settings
from infra.storage import Storage
from tests.integration.night import wait_until
from tests.integration.pool_runs import SLOWLY, Once, Run, fill_store, hashes, make, publish_small_model
from tests.integration.ray_cluster import Cluster, autoscaling_cluster, num_live_nodes
from workers.cluster import has_gpus, pool_size
from workers.plan import Plan
from workers.registry import ModelVersion

DISK = NodeGroup(name="disk", max_nodes=2, resources={"CPU": 1, "scratch": 1}, labels={"disk": "ssd"})
GPU = NodeGroup(name="gpu", max_nodes=1, resources={"CPU": 2, "GPU": 1})
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with autoscaling_cluster(tmp_path_factory.mktemp("cluster"), [DISK, GPU], request.param) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings that know where the store is."""
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
    """Settings that know nothing of the autoscaler."""
    return store.model_copy(update={"ray_address": cluster.address})


@pytest.fixture
def settings(fixed: Settings) -> Settings:
    return fixed.model_copy(update={"node_groups": (DISK, GPU)})


@pytest.fixture(autouse=True)
def _nodes_go_when_nobody_needs_them(cluster: Cluster) -> Iterator[None]:
    yield
    assert not ray.util.list_named_actors(all_namespaces=True)
    wait_until(lambda: num_live_nodes() == 1, "the end of nodes that are idle")


def all_live(num_nodes: int) -> bool:
    """Once so many nodes are live: what is still waited for comes before the next shard is handed out."""
    return bool(wait_until(lambda: num_live_nodes() == num_nodes, f"{num_nodes} nodes"))


def kill_added_nodes(cluster: Cluster) -> bool:
    """Once all of the group are there, SIGKILL to each of them and all that it runs."""
    all_live(1 + DISK.max_nodes)
    for raylet in cluster.raylets()[1:]:
        for process in [*raylet.children(recursive=True), raylet]:
            process.kill()
    return True


@pytest.mark.parametrize("cluster", ["v1", "v2"], indirect=True)
def test_nodes_come_for_actors_and_write_what_one_node_would(
    fixed: Settings, settings: Settings, storage: Storage, plan: Plan
) -> None:
    expected = hashes(Run(fixed, storage, plan).finish())
    placed = {"actor_resources": {"scratch": 1.0}, "actor_labels": {"disk": "ssd"}}
    with pytest.raises(ServiceError, match="needs 1 CPUs, 0 GPUs, 1 scratch and disk=ssd on one node, and no node"):
        Run(fixed.model_copy(update=placed), storage, plan).finish()
    run = Run(settings.model_copy(update=placed), storage, plan, Once(1, lambda: all_live(1 + DISK.max_nodes)))
    assert hashes(run.finish()) == expected
    assert run.said("shards on up to 2 actors")
    assert len(run.said(f"model {plan.model.version} on cpu")) == DISK.max_nodes
    assert run.warnings == []


@pytest.mark.parametrize("cluster", ["v2"], indirect=True)
def test_nodes_that_die_all_at_once_are_replaced(
    cluster: Cluster, fixed: Settings, settings: Settings, storage: Storage, plan: Plan
) -> None:
    expected = hashes(Run(fixed, storage, plan).finish())
    placed = settings.model_copy(update={"actor_resources": {"scratch": 1.0}})
    run = Run(placed, storage, plan, Once(3, lambda: kill_added_nodes(cluster)))
    assert hashes(run.finish()) == expected
    assert run.said("died")


@pytest.mark.parametrize("cluster", ["v2"], indirect=True)
def test_actors_share_the_gpu_of_a_node_that_was_not_there(
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
