"""The connection to Ray, the options of actors, and the part of the cluster they may use."""

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

ACTOR_ENVIRONMENT = {
    # glibc would return freed large tensors to the system at every step and fetch them again:
    # keeping them makes CPU training twice as fast.
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
    # A single arena, since a thread's own arena keeps no block above 64 MiB: texts 1.1x as fast.
    "MALLOC_ARENA_MAX": "1",
    # Large pages where Linux grants them on request: texts 1.09x as fast.
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    # Ray Train, which runs trainings with several workers: no folders, metrics or watchers of its
    # own, and more frequent health checks.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
}
CONNECT_TIMEOUT_S = 10.0
ORDINARY = "nightshift-run-"
BACKGROUND = "nightshift-background-"
"""Prefixes of actor names. Listing names is cheap in Ray and includes actors that wait for room."""


def connect(settings: Settings) -> None:
    """Connects this process to the running cluster; a second call does nothing.

    Raises ServiceError if the cluster cannot be reached.
    """
    if ray.is_initialized():
        return
    if not settings.ray_address:
        raise SettingsError(
            "no Ray cluster is set: run `nightshift up`, "
            "or set NIGHTSHIFT_RAY_ADDRESS to its host:port"
        )
    host, _, port = settings.ray_address.rpartition(":")
    try:
        # Fail fast: ray.init alone would retry for minutes.
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
        with _preserved_sigterm():
            ray.init(
                address=settings.ray_address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                namespace="nightshift",
            )
    except (AuthenticationError, OSError, RaySystemError, RuntimeError, ValueError) as exc:
        first_sentence = str(exc).partition(". ")[0]
        raise ServiceError(
            f"Ray at {settings.ray_address} cannot be reached ({first_sentence}). "
            "If it is running, the usual cause is authentication: set RAY_AUTH_MODE=token and "
            "check that ~/.ray/auth_token is the cluster's token. "
            "`nightshift doctor` finds out more"
        ) from exc


@contextmanager
def _preserved_sigterm() -> Iterator[None]:
    """Restores the SIGTERM handler that Ray replaces.

    SIGTERM cancels a flow run; with Ray's handler a cancelled run would look crashed.
    """
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
    """Ray's options for one of our actors.

    An actor without CPUs and GPUs only starts others, and may run on any node.
    """
    takes_room = num_cpus or num_gpus
    prefix = BACKGROUND if is_background else ORDINARY
    return {
        "name": f"{prefix}{uuid.uuid4().hex}",
        "num_cpus": num_cpus,
        "num_gpus": num_gpus,
        "resources": settings.actor_resources if takes_room else {},
        "label_selector": settings.actor_labels if takes_room else {},
        "max_concurrency": calls_at_once + 1,  # one more thread answers `report`
        "max_restarts": 0,
        "runtime_env": {"env_vars": ACTOR_ENVIRONMENT},
    }


def is_wanted_by_others(own: Collection[str] = ()) -> bool:
    """Whether any driver's ordinary actor, except our `own`, is on the cluster or waits for it."""
    names = {actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)}
    return any(name.startswith(ORDINARY) for name in names.difference(own))


def pool_size(
    settings: Settings, wanted: int, num_shards: int, num_cpus: float, num_gpus: float
) -> int:
    """How many actors to aim for: `wanted` (0: all that fit), at most one per shard.

    Never more than the cluster can hold, including the nodes that an autoscaler may add: it adds
    them when actors wait. Raises ServiceError if no node will ever hold even one actor.
    """
    needs = actor_needs(settings, num_cpus, num_gpus)
    return num_actors(needs, largest_cluster(settings), wanted, num_shards)


def actor_needs(settings: Settings, num_cpus: float, num_gpus: float) -> Needs:
    return Needs(
        {"CPU": num_cpus, "GPU": num_gpus} | settings.actor_resources, settings.actor_labels
    )


def reserve_placement_group(needs: Needs, num_workers: int) -> PlacementGroup:
    """Requests room for the workers, spread over nodes.

    Ray holds it, or waits for it, until it is removed or this process ends.
    """
    bundle = {kind: amount for kind, amount in needs.resources.items() if amount}
    selectors = [dict(needs.labels)] * num_workers if needs.labels else None
    return placement_group(
        [bundle] * num_workers, strategy="SPREAD", bundle_label_selector=selectors
    )


def has_gpus(settings: Settings) -> bool:
    """Whether any node that actors may use, live or still to be added, has a GPU."""
    whole_gpu = Needs({"GPU": 1.0}, settings.actor_labels)
    return any(nodes.capacity(whole_gpu) for nodes in largest_cluster(settings))


def largest_cluster(settings: Settings) -> list[Nodes]:
    """The live nodes, and those that an autoscaler may still add to each group."""
    live = [Nodes(node["Resources"], node["Labels"]) for node in ray.nodes() if node["Alive"]]
    groups = [
        Nodes(group.resources, group.labels, group.max_nodes, group.name)
        for group in settings.node_groups
    ]
    return with_groups(live, groups)
