import re

import pytest

from infra.errors import ServiceError
from workers.actors.room import Needs, Nodes, max_pending, num_actors, with_groups

HEAD = Nodes({"CPU": 3.0, "memory": 8e9})
GPU_GROUP = Nodes({"CPU": 4.0, "GPU": 2.0}, count=8, group="gpu")


def needs(num_cpus: float = 1.0, num_gpus: float = 0.0, **custom: float) -> Needs:
    return Needs({"CPU": num_cpus, "GPU": num_gpus} | custom)


@pytest.mark.parametrize(("num_cpus", "expected"), [(1, 2), (2, 1), (3, 1)])
def test_half_a_cpu_is_left_free_if_more_than_one_actor_fits(
    num_cpus: float, expected: int
) -> None:
    assert num_actors(needs(num_cpus), [HEAD], 0, 100) == expected


def test_there_are_at_most_as_many_actors_as_wanted_and_as_shards() -> None:
    cluster = [Nodes({"CPU": 64.0})]
    assert num_actors(needs(), cluster, 5, 100) == 5
    assert num_actors(needs(), cluster, 5, 2) == 2
    assert num_actors(needs(), [Nodes({"CPU": 64.0}, count=10_000)], 0, 7) == 7


@pytest.mark.parametrize(
    ("num_gpus", "expected"),
    [(0.5, 4), (0.25, 8), (1 / 3, 6), (0.1, 20), (0.4, 4), (0.6, 2), (1, 2), (2, 1)],
)
def test_a_share_of_a_gpu_is_of_one_gpu(num_gpus: float, expected: int) -> None:
    assert num_actors(needs(1, num_gpus), [Nodes({"CPU": 64.0, "GPU": 2.0})], 0, 100) == expected


def test_shares_of_custom_resources_are_of_their_sum() -> None:
    assert num_actors(needs(license=0.4), [Nodes({"CPU": 64.0, "license": 2.0})], 0, 100) == 5


def test_only_nodes_with_the_labels_count() -> None:
    near, far = Nodes({"CPU": 4.0}, {"zone": "a"}), Nodes({"CPU": 8.0}, {"zone": "b"})
    assert num_actors(Needs({"CPU": 1.0}, {"zone": "a"}), [near, far, HEAD], 0, 100) == 4


def test_nodes_of_a_group_count_once_whether_live_or_still_to_be_added() -> None:
    some = [HEAD, *[Nodes({"CPU": 4.0, "GPU": 2.0, "memory": 8e9})] * 3]
    for live in ([HEAD], some):
        assert num_actors(needs(1, 1), with_groups(live, [GPU_GROUP]), 0, 100) == 16


def test_a_group_with_more_live_nodes_than_its_limit_reduces_no_capacity() -> None:
    live = [Nodes({"CPU": 4.0, "GPU": 2.0})] * 9
    assert num_actors(needs(1, 1), with_groups(live, [GPU_GROUP]), 0, 100) == 18


def test_nodes_with_gpus_are_added_for_actors_without_only_if_nothing_else_fits() -> None:
    assert num_actors(needs(), [HEAD, GPU_GROUP], 0, 100) == 2
    assert num_actors(needs(), [Nodes({"CPU": 4.0, "GPU": 2.0}), GPU_GROUP], 0, 100) == 3
    assert num_actors(needs(4), [HEAD, GPU_GROUP], 0, 100) == 8


@pytest.mark.parametrize(
    ("num_shards", "num_running", "expected"),
    [
        (13, 0, 13),
        (1_000_000, 0, 64),
        (1_000_000, 64, 64),
        (1_000_000, 500, 500),
        (5, 5, 5),
        (4, 5, 0),
        (0, 0, 0),
    ],
)
def test_actors_wait_for_room_only_while_there_is_work_for_them(
    num_shards: int, num_running: int, expected: int
) -> None:
    assert max_pending(num_shards, num_running) == expected


def test_nodes_with_a_gpu_do_not_match_a_group_without() -> None:
    cpu_group = Nodes({"CPU": 4.0}, count=2, group="cpu")
    live = [Nodes({"CPU": 4.0, "GPU": 2.0})]
    assert [nodes.count for nodes in with_groups(live, [cpu_group, GPU_GROUP])] == [1, 2, 7]


def test_nodes_with_other_labels_do_not_match_the_group() -> None:
    group = Nodes({"CPU": 4.0}, {"zone": "a"}, count=2, group="near")
    live = [
        Nodes({"CPU": 4.0}, {"zone": "b", "ray.io/node-id": "f"}),
        Nodes({"CPU": 4.0}, {"zone": "a", "disk": "ssd"}),
    ]
    assert [nodes.count for nodes in with_groups(live, [group])] == [1, 1, 1]


def refusal(needed: Needs, *cluster: Nodes) -> str:
    with pytest.raises(ServiceError) as refused:
        num_actors(needed, cluster, 0, 100)
    return str(refused.value)


def test_a_refusal_names_what_is_needed_and_what_each_kind_of_node_has() -> None:
    message = refusal(needs(8, 1), HEAD, HEAD, *with_groups([], [GPU_GROUP]))
    assert message == (
        "an actor needs 8 CPUs and 1 GPUs on one node, and no node of the cluster has that: "
        "there are 8 more of group gpu with 4 CPUs and 2 GPUs; 2 with 3 CPUs and 0 GPUs. "
        "It would wait forever. "
        "Lower threads or num_gpus (of a training num_threads), or add nodes"
    )


def test_a_refusal_names_labels_and_custom_resources() -> None:
    needed = Needs({"CPU": 1.0, "GPU": 0.0, "license": 2.0}, {"zone": "a"})
    message = refusal(needed, Nodes({"CPU": 3.0, "license": 2.0}, {"zone": "b"}), HEAD)
    assert "needs 1 CPUs, 0 GPUs, 2 license and zone=a on one node" in message
    assert (
        "1 with 3 CPUs, 0 GPUs, 2 license and zone=b; 1 with 3 CPUs, 0 GPUs, 0 license and no zone"
        in message
    )
    assert "change NIGHTSHIFT_ACTOR_RESOURCES or NIGHTSHIFT_ACTOR_LABELS" in message


def test_a_refusal_by_a_cluster_of_many_kinds_of_nodes_stays_short() -> None:
    message = refusal(needs(100), *[Nodes({"CPU": float(number)}) for number in range(1, 50)])
    assert len(re.findall(r"1 with", message)) == 6
    assert "; others. " in message
