"""Ray Train, as far as it is used here: processes of a group on the cluster's nodes, connected for
torch.distributed.

Neither its checkpoints nor its restarts are: the training loop has its own, and a group that lost a
worker is replaced as a whole, like an actor. Nor does it look for room: it is given that. Imports
torch; the driver does not need it.
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
from workers.actors.remote_actor import ActorLost, reason

COLLECTIVE_TIMEOUT_S = 24 * 3600
"""For which a worker waits for the others. Whoever does not move is found out by the driver long
before."""
UNWANTED = ("DatasetsCallback", "PlacementGroupCleanerCallback")


@dataclass
class _Scaling(ScalingConfig):
    """With the room that is there already."""

    room: PlacementGroup | None = None


class _HeldRoom(DefaultPlacementGroupHandle):
    def shutdown(self) -> None:
        """Leaves it to the driver, who gives it back."""


class _Workers(WorkerGroup):
    def _create_placement_group(self, scaling_config: Any, worker_group_context: Any) -> _HeldRoom:
        return _HeldRoom(scaling_config.room)


class TrainingController(TrainController):
    worker_group_cls = _Workers


class _AskingNobody(FixedScalingPolicy):
    """Ray Train would ask for nodes through an actor that stays on the cluster for ever, and whose
    node takes half a minute to end; of a training that is killed its request would live on for
    minutes. The room asks by itself."""

    def after_controller_start(self, train_run_context: Any) -> None: ...

    def _maybe_send_resource_request(self) -> None: ...


class _Trainer(TorchTrainer):
    def _create_default_callbacks(self) -> list[Any]:
        """Without actors that are of no use here: one that deals out Ray Data's data sets, and the
        cleaner of placement groups, a detached one that asks the dashboard whether the trainer
        lives, and stays for ever on a cluster that has none, such as the local one. The driver
        gives the room back."""
        callbacks: list[Any] = super()._create_default_callbacks()  # type: ignore[misc]  # mypy sees Ray Train's v1
        return [one for one in callbacks if type(one).__name__ not in UNWANTED]

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
        arguments["scaling_policy"] = _AskingNobody(arguments["train_run_context"].scaling_config)
        controller: Any = (
            ray.remote(TrainingController)
            .options(num_cpus=0, label_selector=here)
            .remote(**arguments)
        )
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
    """Has this worker talk to the others by the address that Ray knows its node by."""
    address = ray.util.get_node_ip_address()
    for interface, found in psutil.net_if_addrs().items():
        if any(one.address == address for one in found):
            use_interface(interface)


def run_group(work: Callable[[], Any], room: PlacementGroup, name: str) -> Any:
    """What `work` returns on the first of several workers, one for each bundle of `room`.

    Raises ActorLost once one is lost, or the NightshiftError that one raised.
    """
    resources = room.bundle_specs[0]
    # Ray Train wants a place for checkpoints, of which it gets none: a folder on this node, where its controller is.
    with tempfile.TemporaryDirectory() as scratch:
        run: dict[str, Any] = {"worker_runtime_env": {"env_vars": ACTOR_ENVIRONMENT}}
        trainer: Any = _Trainer(
            work,
            scaling_config=_Scaling(
                num_workers=room.bundle_count,
                use_gpu="GPU" in resources,
                resources_per_worker=resources,
                room=room,
            ),
            run_config=RunConfig(name=name, storage_path=scratch, **run),
            torch_config=_Connection(
                backend="cpu:gloo,cuda:nccl" if "GPU" in resources else "gloo",
                timeout_s=COLLECTIVE_TIMEOUT_S,
            ),
        )
        try:
            return trainer.fit().return_value
        except WorkerGroupError as exc:
            raise blamed(exc.worker_failures) from exc
        except (TrainingFailedError, RayError) as exc:
            raise ActorLost(f"lost its workers: {first_line(origin(exc))}") from exc


def blamed(failures: dict[int, Exception]) -> Exception:
    """Of all workers' failures the one to be dealt with: when one is lost, the others lose their
    connection to it."""
    for failure in failures.values():
        if isinstance(failure, NightshiftError):
            return failure
    by_itself = {
        rank: failure for rank, failure in failures.items() if not isinstance(failure, ActorLost)
    }
    rank, failure = next(iter((by_itself or failures).items()))
    death = getattr(failure, "health_check_failure", failure)
    return ActorLost(
        f"lost worker {rank}: {reason(death) if isinstance(death, RayError) else first_line(death)}"
    )


def origin(exc: Exception) -> Exception:
    """What connecting the workers raised on one of them, where Ray Train's error only wraps
    that."""
    failure = getattr(exc, "controller_failure", exc)
    found: Exception = failure.cause if isinstance(failure, RayTaskError) else failure
    return found


def first_line(exc: Exception) -> str:
    return str(exc).strip().partition("\n")[0]
