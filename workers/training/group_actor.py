"""The actor that trains with several workers, each of them a process of Ray Train.

To the driver it looks like the actor of a training with one worker: it reports, and is replaced
when it stalls or dies. It forwards the first worker's reports. Its workers end when it ends, since
it owns their owner.
"""

import logging
from functools import partial
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup

from infra.errors import GenerationError, NightshiftError, OutOfMemory, ServiceError
from infra.settings import Settings
from workers.actors.cluster import pool_size
from workers.actors.memory import is_out_of_memory
from workers.actors.messages import Report, Reporter
from workers.actors.remote_actor import ActorLost
from workers.registry.versions import ModelVersion
from workers.training.train_actor import TrainActor, Training


def require_capacity(
    settings: Settings, num_workers: int, num_cpus: float, num_gpus: float
) -> None:
    """Raises ServiceError if the cluster will never hold all workers at once."""
    num_fitting = pool_size(settings, num_workers, num_workers, num_cpus, num_gpus)
    if num_fitting < num_workers:
        raise ServiceError(
            f"a training with num_workers={num_workers} needs {num_workers} times "
            f"{num_cpus:g} CPUs and {num_gpus:g} GPUs at once, and half a CPU beside them; "
            f"the cluster has room for {num_fitting}: it would wait forever. "
            "Lower num_workers or num_threads, or add nodes"
        )


class TrainGroupActor:
    """Trains in `work` with one worker per bundle of the placement group.

    Nothing that may fail happens in the constructor: to Ray its errors look like a dead actor.
    """

    def __init__(
        self, settings: Settings, training: Training, placement_group: PlacementGroup
    ) -> None:
        self._settings = settings
        self._training = training
        self._placement_group = placement_group
        self._reporter = Reporter("training", node="")

    def work(self) -> ModelVersion:
        """Returns the version that the first worker has published.

        Raises ActorLost when a worker is lost, or what a worker raised.
        """
        from workers.training.torch_trainer import run_group

        this_actor = ray.get_runtime_context().current_actor
        work = partial(train_as_worker, this_actor, self._settings, self._training)
        version: ModelVersion = run_group(work, self._placement_group, self._training.fingerprint)
        return version

    def receive(self, report: Report) -> None:
        """Takes a report of the first worker."""
        self._reporter.forward(report)

    def report(self) -> Report:
        return self._reporter.fetch()


class ForwardingReporter(Reporter):
    """Sends each report at once to the group's actor, from which the driver fetches it."""

    def __init__(self, group: Any, node: str) -> None:
        super().__init__("training", node)
        self._group = group
        self._send()

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        self._send()

    def progress(self, done: float, doing: str = "") -> None:
        super().progress(done, doing)
        self._send()

    def _send(self) -> None:
        self._group.receive.remote(self.fetch())


def train_as_worker(group: Any, settings: Settings, training: Training) -> ModelVersion | None:
    """Does what a training's only actor does; only the first worker reports to the group."""
    from aigc_models.training.data_parallel import is_first, rank
    from workers.training.torch_trainer import first_line

    node = ray.util.get_node_ip_address()
    reporter = ForwardingReporter(group, node) if is_first() else Reporter("training", node)
    try:
        return TrainActor(settings, training, reporter).work()
    except NightshiftError:
        raise
    except Exception as exc:
        if is_out_of_memory(exc):
            raise OutOfMemory(f"ran out of memory: {exc}") from exc
        if _is_lost_connection(exc):
            raise ActorLost(f"it has lost the others: {first_line(exc)}") from exc
        raise GenerationError(
            f"worker {rank()} of training on {node} failed: {type(exc).__name__}: {exc}"
        ) from exc


def _is_lost_connection(exc: Exception) -> bool:
    """Whether torch.distributed raised it because another worker is gone."""
    from torch.distributed import DistError

    # gloo's errors are plain RuntimeErrors: only the text tells them apart.
    is_gloo_error = isinstance(exc, RuntimeError) and "gloo" in str(exc)
    return isinstance(exc, DistError) or is_gloo_error
