"""The connection to Ray, and what of the cluster a pool of actors may use."""

import logging
import signal
import socket
import threading
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import AuthenticationError, RaySystemError
from ray.util.placement_group import PlacementGroup, placement_group

from infra.errors import ServiceError, SettingsError
from infra.settings import Settings
from workers.actors.room import Needs, Nodes, num_actors, with_groups

# Big tensors that are freed would be handed back to the system at every step and fetched again: measured 2x on CPU
# training. One arena: the others, which threads get, keep no block that is larger than 64 MiB; 1.1x on texts.
ACTOR_ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # large pages where Linux gives them to who asks: 1.09x on texts
    # Of Ray Train, which trains with several workers: no folders, metrics and watchers of its own, and quicker looks.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
}
CONNECT_TIMEOUT_S = 10.0
ORDINARY, BACKGROUND = "nightshift-run-", "nightshift-background-"
"""What names of actors begin with: Ray lists names, of actors that wait for room too, at next to no
cost."""


def connect(settings: Settings) -> None:
    """Connects this process to the running cluster; a second call does nothing. Raises
    ServiceError."""
    if ray.is_initialized():
        return
    if not settings.ray_address:
        raise SettingsError(
            "no Ray cluster is set: run `nightshift up`, or set NIGHTSHIFT_RAY_ADDRESS to its host:port"
        )
    host, _, port = settings.ray_address.rpartition(":")
    try:
        socket.create_connection(
            (host, int(port)), timeout=CONNECT_TIMEOUT_S
        ).close()  # ray.init retries for minutes
        with _keeping_sigterm():
            ray.init(
                address=settings.ray_address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                namespace="nightshift",
            )
    except (AuthenticationError, OSError, RaySystemError, RuntimeError, ValueError) as exc:
        raise ServiceError(
            f"Ray at {settings.ray_address} cannot be reached ({str(exc).partition('. ')[0]}). If it is running, the "
            "usual cause is authentication: set RAY_AUTH_MODE=token and see that ~/.ray/auth_token is the cluster's. "
            "`nightshift doctor` looks into it"
        ) from exc


@contextmanager
def _keeping_sigterm() -> Iterator[None]:
    """Ray takes SIGTERM for itself, by which whoever runs the flow cancels it: a cancelled run
    would look crashed."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def actor_options(
    settings: Settings,
    num_cpus: float,
    num_gpus: float,
    *,
    calls_at_once: int = 1,
    is_background: bool = False,
) -> dict[str, Any]:
    """Ray's options for an actor of ours; one more thread answers `report` while others work.

    An actor without CPUs only starts others, and may be on any node.
    """
    takes_room = num_cpus or num_gpus
    return {
        "name": f"{BACKGROUND if is_background else ORDINARY}{uuid.uuid4().hex}",
        "num_cpus": num_cpus,
        "num_gpus": num_gpus,
        "resources": settings.actor_resources if takes_room else {},
        "label_selector": settings.actor_labels if takes_room else {},
        "max_concurrency": calls_at_once + 1,
        "max_restarts": 0,
        "runtime_env": {"env_vars": ACTOR_ENVIRONMENT},
    }


def is_wanted_by_others(own: Collection[str] = ()) -> bool:
    """Whether any ordinary actor of Nightshift but our `own`, of whatever driver, is on the cluster
    or waits for it."""
    names = {actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)}
    return any(name.startswith(ORDINARY) for name in names.difference(own))


def pool_size(
    settings: Settings, wanted: int, num_shards: int, num_cpus: float, num_gpus: float
) -> int:
    """How many actors to aim for: `wanted` (0: all that fit), never more than shards or than the
    cluster can hold.

    Nodes that an autoscaler may add count as well: actors that wait are what it adds them for.
    Raises ServiceError at once when no node will ever hold even one actor.
    """
    needs = actor_needs(settings, num_cpus, num_gpus)
    return num_actors(needs, largest_cluster(settings), wanted, num_shards)


def actor_needs(settings: Settings, num_cpus: float, num_gpus: float) -> Needs:
    return Needs(
        {"CPU": num_cpus, "GPU": num_gpus} | settings.actor_resources, settings.actor_labels
    )


def reserve_room(needs: Needs, num_workers: int) -> PlacementGroup:
    """The room of so many workers, spread over nodes: held, or waited for, until it is removed or
    this process ends."""
    bundle = {kind: amount for kind, amount in needs.resources.items() if amount}
    selectors = [dict(needs.labels)] * num_workers if needs.labels else None
    return placement_group(
        [bundle] * num_workers, strategy="SPREAD", bundle_label_selector=selectors
    )


def has_gpus(settings: Settings) -> bool:
    """Whether a node where actors may be has a GPU, or one that may be added."""
    whole = Needs({"GPU": 1.0}, settings.actor_labels)
    return any(nodes.room(whole) for nodes in largest_cluster(settings))


def largest_cluster(settings: Settings) -> list[Nodes]:
    """The nodes there are, and of each group those that an autoscaler may add to them."""
    live = [Nodes(node["Resources"], node["Labels"]) for node in ray.nodes() if node["Alive"]]
    groups = [
        Nodes(group.resources, group.labels, group.max_nodes, group.name)
        for group in settings.node_groups
    ]
    return with_groups(live, groups)
