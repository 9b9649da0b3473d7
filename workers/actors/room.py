"""How many actors fit on a cluster: on its live nodes and on those that an autoscaler may add.

Knows nothing about Ray.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn

from infra.errors import ServiceError

DRIVER_SHARE = 0.5
"""CPUs left for other work on the cluster: if actors held every CPU, it would wait forever."""
PRECISION = 1e-6
"""Ray counts in ten-thousandths: a third of a GPU fits three times."""
MIN_PENDING = 64
"""This many actors may wait for room at once, or as many as are running. A pending actor costs the
driver and Ray as much as a running one, so thousands are requested in steps, as Ray adds nodes."""
MAX_KINDS_LISTED = 6


@dataclass(frozen=True, slots=True)
class Needs:
    """The resources that one actor takes, and the labels that its node must have."""

    resources: Mapping[str, float]
    labels: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        labels = [f"{key}={value}" for key, value in self.labels.items()]
        return _join(_amounts(self.resources) + labels)

    def times(self, number: int) -> str:
        """The needs of `number` actors at once, in words."""
        return f"{number} times at once {self}" if number > 1 else str(self)


@dataclass(frozen=True, slots=True)
class Nodes:
    """`count` equal nodes."""

    resources: Mapping[str, float]
    labels: Mapping[str, str] = field(default_factory=dict)
    count: int = 1
    group: str = ""
    """The group from which an autoscaler may add them; empty for live nodes."""

    def match(self, group: "Nodes") -> bool:
        """Whether they have exactly the resources of `group`'s nodes, and at least the labels."""
        kinds = {"CPU", "GPU", *group.resources}
        is_alike = all(
            self.resources.get(kind, 0.0) == group.resources.get(kind, 0.0) for kind in kinds
        )
        return is_alike and group.labels.items() <= self.labels.items()

    def capacity(self, needs: Needs) -> int:
        """How many actors fit on all of them together."""
        if not needs.labels.items() <= self.labels.items():
            return 0
        needed = {kind: amount for kind, amount in needs.resources.items() if amount}
        return self.count * min(self._num_fitting(kind, need) for kind, need in needed.items())

    def _num_fitting(self, kind: str, need: float) -> int:
        amount = self.resources.get(kind, 0.0)
        # A share is a share of one GPU: the remainders of two GPUs cannot be combined.
        if kind == "GPU" and need < 1:
            return int(amount) * math.floor(1 / need + PRECISION)
        return math.floor(amount / need + PRECISION)


def with_groups(live: Sequence[Nodes], groups: Sequence[Nodes]) -> list[Nodes]:
    """The cluster at its largest: the live nodes, and those that each group can still add."""
    cluster = list(live)
    for group in groups:
        num_live = sum(node.match(group) for node in live)
        if num_live < group.count:
            cluster.append(replace(group, count=group.count - num_live))
    return cluster


def num_actors(needs: Needs, cluster: Sequence[Nodes], wanted: int, num_shards: int) -> int:
    """How many actors to aim for: `wanted` (0: all that fit), at most one per shard.

    Never more than the cluster can hold. Nodes with GPUs are added for actors without GPUs only if
    no other node can hold one. Raises ServiceError when no node can hold even one actor.
    """
    affordable = [nodes for nodes in cluster if not _adds_unneeded_gpus(nodes, needs)]
    used = affordable if _capacity(affordable, needs) else cluster
    num_fitting = _capacity(used, needs)
    if not num_fitting:
        _refuse(needs, cluster)
    num_cpus = sum(nodes.count * nodes.resources.get("CPU", 0.0) for nodes in used)
    if num_cpus - num_fitting * needs.resources["CPU"] < DRIVER_SHARE:
        num_fitting -= 1
    return max(1, min(num_fitting, num_shards, wanted or num_fitting))


def _adds_unneeded_gpus(nodes: Nodes, needs: Needs) -> bool:
    has_gpus = bool(nodes.resources.get("GPU"))
    return bool(nodes.group) and has_gpus and not needs.resources.get("GPU")


def max_pending(num_shards: int, num_running: int) -> int:
    """How many actors may wait for room while `num_shards` shards are unassigned.

    None if more actors run than shards are left: the running actors will take them all soon.
    """
    if num_shards < num_running:
        return 0
    return min(num_shards, max(MIN_PENDING, num_running))


def _capacity(cluster: Sequence[Nodes], needs: Needs) -> int:
    return sum(nodes.capacity(needs) for nodes in cluster)


def _refuse(needs: Needs, cluster: Sequence[Nodes]) -> NoReturn:
    raise ServiceError(
        f"an actor needs {needs} on one node, and no node of the cluster has that: "
        f"there are {_describe_cluster(cluster, needs)}. It would wait forever. "
        f"{_advice(needs)}, or add nodes"
    )


def nodes_never_came(
    who: str, needs: Needs, num_at_once: int, cluster: Sequence[Nodes], waited_s: float
) -> ServiceError:
    """The error of a run that waited too long for nodes; `cluster` includes those still to come."""
    live = [nodes for nodes in cluster if not nodes.group]
    missing = [nodes for nodes in cluster if nodes.group]
    declared = "no more are declared"
    if missing:
        declared = f"NIGHTSHIFT_NODE_GROUPS declares {_describe_cluster(missing, needs)}"
    return ServiceError(
        f"{who} has waited {waited_s:g} s (NIGHTSHIFT_NODE_WAIT_S) for nodes that did not come. "
        f"It needs {needs.times(num_at_once)} on one node; "
        f"there are {_describe_cluster(live, needs)}; {declared}. "
        "`ray status` on the cluster's head shows why none is added: a quota, no spot capacity, "
        "a group that the autoscaler does not have. "
        f"{_advice(needs)}, or take the group out of NIGHTSHIFT_NODE_GROUPS. "
        "Finished work is kept: run the command again to resume"
    )


def _describe_cluster(cluster: Sequence[Nodes], needs: Needs) -> str:
    counts: Counter[str] = Counter()
    for nodes in cluster:
        counts[_describe(nodes, needs)] += nodes.count
    kinds = [f"{count} {kind}" for kind, count in counts.most_common(MAX_KINDS_LISTED)]
    if len(counts) > MAX_KINDS_LISTED:
        kinds.append("others")
    return "; ".join(kinds)


def _describe(nodes: Nodes, needs: Needs) -> str:
    """What the nodes have of each resource and label that is needed."""
    amounts = _amounts({kind: nodes.resources.get(kind, 0.0) for kind in needs.resources})
    labels = [
        f"{key}={nodes.labels[key]}" if key in nodes.labels else f"no {key}" for key in needs.labels
    ]
    origin = f"more of group {nodes.group} " if nodes.group else ""
    return f"{origin}with {_join(amounts + labels)}"


def _advice(needs: Needs) -> str:
    advice = "Lower threads or num_gpus (of a training num_threads)"
    if needs.labels or needs.resources.keys() - {"CPU", "GPU"}:
        advice += ", change NIGHTSHIFT_ACTOR_RESOURCES or NIGHTSHIFT_ACTOR_LABELS"
    return advice


def _amounts(resources: Mapping[str, float]) -> list[str]:
    names = {"CPU": "CPUs", "GPU": "GPUs"}
    return [f"{amount:g} {names.get(kind, kind)}" for kind, amount in resources.items()]


def _join(items: Sequence[str]) -> str:
    if len(items) == 1:
        return items[0]
    return f"{', '.join(items[:-1])} and {items[-1]}"
