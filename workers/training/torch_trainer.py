"""Runs a group of processes on the cluster with Ray Train, connected for torch.distributed.

Uses neither Ray Train's checkpoints nor its restarts: the training loop writes its own checkpoints,
and a group that lost a worker is replaced as a whole, like an actor. The driver reserves the
placement group. Imports torch, which the driver does not need.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil
import ray
from ray.exceptions import RayError, RayTaskError
from ray.train import RunConfig, ScalingConfig, TrainingFailedError, WorkerGroupError
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2._internal.execution.worker_group import DefaultPlacementGroupHandle, WorkerGroup
from ray.util.placement_group import PlacementGroup

from infra.errors import NightshiftError
from infra.settings import use_interface
from workers.actors.cluster import ACTOR_ENVIRONMENT
from workers.actors.remote_actor import ActorLost, death_reason

COLLECTIVE_TIMEOUT_S = 24 * 3600
"""How long a worker waits for the others; the driver notices a stalled one long before."""
# The first starts an actor for Ray Data, which is not used here. The second starts a detached actor
# that asks the dashboard whether the trainer lives; on a cluster without one, such as the local
# one, it stays forever. The driver releases the placement group itself.
UNWANTED_CALLBACKS = ("DatasetsCallback", "PlacementGroupCleanerCallback")


@dataclass
class _ReservedScaling(ScalingConfig):
    """With a placement group that the driver has reserved."""

    placement_group: PlacementGroup | None = None


class _ReservedPlacementGroup(DefaultPlacementGroupHandle):
    def shutdown(self) -> None:
        """Does nothing: the driver releases it."""


class _WorkerGroup(WorkerGroup):
    def _create_placement_group(
        self, scaling_config: Any, worker_group_context: Any
    ) -> _ReservedPlacementGroup:
        return _ReservedPlacementGroup(scaling_config.placement_group)


class TrainingController(TrainController):
    worker_group_cls = _WorkerGroup


class _NoResourceRequests(FixedScalingPolicy):
    """Requests no nodes: the placement group does.

    Ray Train's requests come from an actor that stays on the cluster forever and delays the end of
    its node by half a minute; those of a killed training would live on for minutes.
    """

    def after_controller_start(self, train_run_context: Any) -> None: ...

    def _maybe_send_resource_request(self) -> None: ...


class _Trainer(TorchTrainer):
    def _create_default_callbacks(self) -> list[Any]:
        # mypy sees the class of Ray Train v1, which lacks the method.
        callbacks: list[Any] = super()._create_default_callbacks()  # type: ignore[misc]
        return [
            callback for callback in callbacks if type(callback).__name__ not in UNWANTED_CALLBACKS
        ]

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        this_node = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
        scaling_config = arguments["train_run_context"].scaling_config
        arguments["scaling_policy"] = _NoResourceRequests(scaling_config)
        controller_class = ray.remote(TrainingController)
        options: Any = controller_class.options(num_cpus=0, label_selector=this_node)
        controller = options.remote(**arguments)
        ray.get(controller.run.remote())
        return ray.get(controller.get_result.remote())


class _Backend(TorchConfig().backend_cls):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        worker_group.execute(use_the_nodes_network)
        super().on_start(worker_group, backend_config)


class _Connection(TorchConfig):
    @property
    def backend_cls(self) -> type[_Backend]:
        return _Backend


def use_the_nodes_network() -> None:
    """Makes this worker use the network interface with its node's address in Ray."""
    node_address = ray.util.get_node_ip_address()
    for interface, addresses in psutil.net_if_addrs().items():
        if any(found.address == node_address for found in addresses):
            use_interface(interface)


def run_group(work: Callable[[], Any], placement_group: PlacementGroup, name: str) -> Any:
    """Runs `work` on one worker per bundle of the placement group; returns the first one's result.

    Raises ActorLost when a worker is lost, or the NightshiftError that a worker raised.
    """
    resources = placement_group.bundle_specs[0]
    has_gpus = "GPU" in resources
    scaling = _ReservedScaling(
        num_workers=placement_group.bundle_count,
        use_gpu=has_gpus,
        resources_per_worker=resources,
        placement_group=placement_group,
    )
    connection = _Connection(
        backend="cpu:gloo,cuda:nccl" if has_gpus else "gloo", timeout_s=COLLECTIVE_TIMEOUT_S
    )
    environment: dict[str, Any] = {"worker_runtime_env": {"env_vars": ACTOR_ENVIRONMENT}}
    # Ray Train requires a folder for checkpoints, and gets none to keep: the folder is on this
    # node, where its controller runs.
    with tempfile.TemporaryDirectory() as scratch:
        trainer: Any = _Trainer(
            work,
            scaling_config=scaling,
            run_config=RunConfig(name=name, storage_path=scratch, **environment),
            torch_config=connection,
        )
        try:
            return trainer.fit().return_value
        except WorkerGroupError as exc:
            raise root_failure(exc.worker_failures) from exc
        except (TrainingFailedError, RayError) as exc:
            raise ActorLost(f"lost its workers: {first_line(unwrap(exc))}") from exc


def root_failure(failures: dict[int, Exception]) -> Exception:
    """The failure that caused the others: when a worker is lost, the others lose their connection.

    `failures`: by rank. Returns a NightshiftError that a worker raised, otherwise an ActorLost.
    """
    for failure in failures.values():
        if isinstance(failure, NightshiftError):
            return failure
    causes = {
        rank: failure for rank, failure in failures.items() if not isinstance(failure, ActorLost)
    }
    rank, failure = next(iter((causes or failures).items()))
    death = getattr(failure, "health_check_failure", failure)
    why = death_reason(death) if isinstance(death, RayError) else first_line(death)
    return ActorLost(f"lost worker {rank}: {why}")


def unwrap(exc: Exception) -> Exception:
    """What connecting the workers raised on one of them, if Ray Train's error only wraps it."""
    failure = getattr(exc, "controller_failure", exc)
    cause: Exception = failure.cause if isinstance(failure, RayTaskError) else failure
    return cause


def first_line(exc: Exception) -> str:
    return str(exc).strip().partition("\n")[0]
