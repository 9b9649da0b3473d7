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

from infra.errors import ServiceError, SettingsError
from infra.settings import Settings

# Big tensors that are freed would be handed back to the system at every step and fetched again: measured 2x on CPU
# training. One arena: the others, which threads get, keep no block that is larger than 64 MiB; 1.1x on texts.
ACTOR_ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
    # Of Ray Train, which trains with several workers: no folders, metrics and watchers of its own, and quicker looks.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
}
CONNECT_TIMEOUT_S = 10.0
ORDINARY, BACKGROUND = "nightshift-run-", "nightshift-background-"
"""What names of actors begin with: Ray lists names, of actors that wait for room too, at next to no cost."""
DRIVER_SHARE = 0.5
"""CPUs left for whatever else runs on the cluster: actors that hold every CPU make other work wait for ever."""


def connect(settings: Settings) -> None:
    """Connects this process to the running cluster; a second call does nothing. Raises ServiceError."""
    if ray.is_initialized():
        return
    if not settings.ray_address:
        raise SettingsError(
            "no Ray cluster is set: run `nightshift up`, or set NIGHTSHIFT_RAY_ADDRESS to its host:port"
        )
    host, _, port = settings.ray_address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()  # ray.init retries for minutes
        with _keeping_sigterm():
            ray.init(
                address=settings.ray_address, log_to_driver=False, logging_level=logging.ERROR, namespace="nightshift"
            )
    except (AuthenticationError, OSError, RaySystemError, RuntimeError, ValueError) as exc:
        raise ServiceError(
            f"Ray at {settings.ray_address} cannot be reached ({str(exc).partition('. ')[0]}). If it is running, the "
            "usual cause is authentication: set RAY_AUTH_MODE=token and see that ~/.ray/auth_token is the cluster's. "
            "`nightshift doctor` looks into it"
        ) from exc


@contextmanager
def _keeping_sigterm() -> Iterator[None]:
    """Ray takes SIGTERM for itself, by which whoever runs the flow cancels it: a cancelled run would look crashed."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def actor_options(
    num_cpus: float, num_gpus: float, *, calls_at_once: int = 1, is_background: bool = False
) -> dict[str, Any]:
    """Ray's options for an actor of ours; one more thread answers `report` while others work."""
    return {
        "name": f"{BACKGROUND if is_background else ORDINARY}{uuid.uuid4().hex}",
        "num_cpus": num_cpus,
        "num_gpus": num_gpus,
        "max_concurrency": calls_at_once + 1,
        "max_restarts": 0,
        "runtime_env": {"env_vars": ACTOR_ENVIRONMENT},
    }


def is_wanted_by_others(own: Collection[str] = ()) -> bool:
    """Whether any ordinary actor of Nightshift but our `own`, of whatever driver, is on the cluster or waits for it."""
    names = {actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)}
    return any(name.startswith(ORDINARY) for name in names.difference(own))


def pool_size(wanted: int, num_shards: int, num_cpus: float, num_gpus: float) -> int:
    """How many actors to start: `wanted` (0: all that fit), never more than shards or than the cluster can hold.

    Raises ServiceError at once when no node will ever hold even one.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    fitting = sum(_fitting(node, num_cpus, num_gpus, num_shards) for node in nodes)
    if not fitting:
        largest = " and ".join(
            f"{max((node.get(kind, 0.0) for node in nodes), default=0.0):g} {kind}s" for kind in ("CPU", "GPU")
        )
        raise ServiceError(
            f"an actor needs {num_cpus:g} CPUs and {num_gpus:g} GPUs on one node; of the cluster's {len(nodes)} nodes "
            f"none has more than {largest}: it would wait for ever. Lower threads or num_gpus, or add nodes"
        )
    if sum(node.get("CPU", 0.0) for node in nodes) - fitting * num_cpus < DRIVER_SHARE:
        fitting -= 1
    return max(1, min(fitting, num_shards, wanted or fitting))


def _fitting(node: dict[str, float], num_cpus: float, num_gpus: float, most: int) -> int:
    """How many actors fit on a node, `most` at the most."""
    needs = {"CPU": num_cpus, "GPU": num_gpus}
    return min(most, *(int(node.get(kind, 0.0) / need) for kind, need in needs.items() if need))
