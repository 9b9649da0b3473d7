"""The connection to Ray, and what of the cluster a pool of actors may use."""

import logging
import socket

import ray
from ray.exceptions import AuthenticationError, RaySystemError

from infra.errors import ServiceError, SettingsError
from infra.settings import Settings

# Returned big tensors would be handed back to the system at every step and fetched again: measured 2x on CPU training.
ACTOR_ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "1073741824"}
CONNECT_TIMEOUT_S = 10.0
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
        ray.init(address=settings.ray_address, log_to_driver=False, logging_level=logging.ERROR, namespace="nightshift")
    except (AuthenticationError, OSError, RaySystemError, RuntimeError, ValueError) as exc:
        raise ServiceError(
            f"Ray at {settings.ray_address} cannot be reached ({str(exc).partition('. ')[0]}). If it is running, the "
            "usual cause is authentication: set RAY_AUTH_MODE=token and see that ~/.ray/auth_token is the cluster's. "
            "`nightshift doctor` looks into it"
        ) from exc


def pool_size(wanted: int, num_shards: int, num_cpus: float, num_gpus: float) -> int:
    """How many actors to start: `wanted` (0: all that fit), never more than shards or than the cluster can hold.

    Raises ServiceError at once when not even one actor will ever fit.
    """
    total = ray.cluster_resources()
    cpus, gpus = total.get("CPU", 0.0), total.get("GPU", 0.0)
    if cpus < num_cpus or gpus < num_gpus:
        raise ServiceError(
            f"an actor needs {num_cpus:g} CPUs and {num_gpus:g} GPUs, the cluster has {cpus:g} and {gpus:g} in all: "
            "it would wait for ever. Lower threads or num_gpus, or add nodes"
        )
    fitting = int((cpus - DRIVER_SHARE) / num_cpus) if num_cpus else num_shards
    if num_gpus:
        fitting = min(fitting, int(gpus / num_gpus))
    return max(1, min(fitting, num_shards, wanted or fitting))
