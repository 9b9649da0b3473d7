"""How many actors there is room for: on the nodes there are, and on those that an autoscaler may
add. Knows no Ray."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from infra.errors import ServiceError

DRIVER_SHARE = 0.5
"""CPUs left for whatever else runs on the cluster: actors that hold every CPU make other work wait
for ever."""
PRECISION = 1e-6
"""Ray counts in ten-thousandths: a third of a GPU fits three times."""
FEWEST_WAITING = 64
"""So many actors may wait at once, or as many as run: a cluster that may have thousands is asked
for them in steps, as Ray adds its nodes in steps, since each one that waits costs the driver and
Ray as much as one that runs."""
MAX_KINDS_TOLD = 6


@dataclass(frozen=True, slots=True)
class Needs:
    """What one actor takes of a node, and which labels that node has."""

    resources: Mapping[str, float]
    labels: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return _list(
            _amounts(self.resources) + [f"{key}={value}" for key, value in self.labels.items()]
        )

    def times(self, number: int) -> str:
        """Of so many actors at once."""
        return f"{number} times at once {self}" if number > 1 else str(self)


@dataclass(frozen=True, slots=True)
class Nodes:
    """So many nodes that are alike."""

    resources: Mapping[str, float]
    labels: Mapping[str, str] = field(default_factory=dict)
    count: int = 1
    group: str = ""
    """The group of nodes that an autoscaler may add; empty for those that are there."""

    def are_of(self, group: "Nodes") -> bool:
        """Whether they have just what nodes of `group` have."""
        kinds = {"CPU", "GPU", *group.resources}
        is_alike = all(
            self.resources.get(kind, 0.0) == group.resources.get(kind, 0.0) for kind in kinds
        )
        return is_alike and group.labels.items() <= self.labels.items()

    def room(self, needs: Needs) -> int:
        """How many actors fit on all of them."""
        if not needs.labels.items() <= self.labels.items():
            return 0
        fitting = (self._times(kind, need) for kind, need in needs.resources.items() if need)
        return self.count * min(fitting)

    def _times(self, kind: str, need: float) -> int:
        amount = self.resources.get(kind, 0.0)
        if kind == "GPU" and need < 1:  # a share is of one GPU: what is left of two is no third one
            return int(amount) * math.floor(1 / need + PRECISION)
        return math.floor(amount / need + PRECISION)


def with_groups(live: Sequence[Nodes], groups: Sequence[Nodes]) -> list[Nodes]:
    """The cluster at its largest: live nodes, and of each group those that are not among them
    yet."""
    missing = [
        Nodes(
            group.resources,
            group.labels,
            group.count - sum(node.are_of(group) for node in live),
            group.group,
        )
        for group in groups
    ]
    return [*live, *(nodes for nodes in missing if nodes.count > 0)]


def num_actors(needs: Needs, cluster: Sequence[Nodes], wanted: int, num_shards: int) -> int:
    """How many actors to aim for: `wanted` (0: all that fit), never more than shards or than the
    cluster can hold.

    No nodes with GPUs are to be added for actors that need none, unless there are no others. Raises
    ServiceError when no node can hold even one actor.
    """
    cheap = [
        nodes
        for nodes in cluster
        if needs.resources.get("GPU") or not (nodes.group and nodes.resources.get("GPU"))
    ]
    used = cheap if _room(cheap, needs) else cluster
    fitting = _room(used, needs)
    if not fitting:
        _refuse(needs, cluster)
    num_cpus = sum(nodes.count * nodes.resources.get("CPU", 0.0) for nodes in used)
    if num_cpus - fitting * needs.resources["CPU"] < DRIVER_SHARE:
        fitting -= 1
    return max(1, min(fitting, num_shards, wanted or fitting))


def num_to_wait(num_shards: int, num_running: int) -> int:
    """How many actors are to wait for room while nobody has begun with `num_shards`: no more than
    these.

    None where the actors that run outnumber the shards: each of these is soon with one of them.
    """
    return 0 if num_shards < num_running else min(num_shards, max(FEWEST_WAITING, num_running))


def _room(cluster: Sequence[Nodes], needs: Needs) -> int:
    return sum(nodes.room(needs) for nodes in cluster)


def _refuse(needs: Needs, cluster: Sequence[Nodes]) -> NoReturn:
    raise ServiceError(
        f"an actor needs {needs} on one node, and no node of the cluster has that: there are "
        f"{_enumerate(cluster, needs)}. It would wait for ever. {_change(needs)}, or add nodes"
    )


def never_came(
    who: str, needs: Needs, num_at_once: int, cluster: Sequence[Nodes], waited_s: float
) -> ServiceError:
    """The error of a run that has waited so long for nodes of the groups in `cluster`, of which too
    few are there."""
    live = [nodes for nodes in cluster if not nodes.group]
    missing = [nodes for nodes in cluster if nodes.group]
    declared = (
        f"NIGHTSHIFT_NODE_GROUPS promises {_enumerate(missing, needs)}"
        if missing
        else "no more are declared"
    )
    return ServiceError(
        f"{who} has waited {waited_s:g} s (NIGHTSHIFT_NODE_WAIT_S) for nodes that did not come. It needs "
        f"{needs.times(num_at_once)} on one node; there are {_enumerate(live, needs)}; {declared}. `ray status` on the "
        "cluster's head says why none is added: a quota, no spot capacity, a group that the autoscaler does not have. "
        f"{_change(needs)}, or take the group out of NIGHTSHIFT_NODE_GROUPS. What is finished is kept: run it again "
        "to go on"
    )


def _enumerate(cluster: Sequence[Nodes], needs: Needs) -> str:
    counts: Counter[str] = Counter()
    for nodes in cluster:
        counts[_describe(nodes, needs)] += nodes.count
    found = [f"{count} {what}" for what, count in counts.most_common(MAX_KINDS_TOLD)]
    return "; ".join([*found, *(["others"] if len(counts) > MAX_KINDS_TOLD else [])])


def _change(needs: Needs) -> str:
    change = "Lower threads or num_gpus (of a training num_threads)"
    if needs.labels or needs.resources.keys() - {"CPU", "GPU"}:
        change += ", change NIGHTSHIFT_ACTOR_RESOURCES or NIGHTSHIFT_ACTOR_LABELS"
    return change


def _describe(nodes: Nodes, needs: Needs) -> str:
    """Of what is needed all that they have."""
    amounts = _amounts({kind: nodes.resources.get(kind, 0.0) for kind in needs.resources})
    labels = [
        f"{key}={nodes.labels[key]}" if key in nodes.labels else f"no {key}" for key in needs.labels
    ]
    origin = f"more of group {nodes.group} " if nodes.group else ""
    return f"{origin}with {_list(amounts + labels)}"


def _amounts(resources: Mapping[str, float]) -> list[str]:
    names = {"CPU": "CPUs", "GPU": "GPUs"}
    return [f"{amount:g} {names.get(kind, kind)}" for kind, amount in resources.items()]


def _list(items: Sequence[str]) -> str:
    return " and ".join([*([", ".join(items[:-1])] if len(items) > 1 else []), items[-1]])
