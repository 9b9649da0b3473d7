"""The actor that trains with several workers: Ray Train runs one process for each, this one starts
and ends them.

To the driver it looks like the actor of a training with one worker: it reports, may stall, is lost
and replaced. It passes on what the first worker says. When it ends, so do its workers, whose
owner's owner it is.
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


def check_room(settings: Settings, num_workers: int, num_cpus: float, num_gpus: float) -> None:
    """Raises ServiceError where the cluster will never hold all workers at once."""
    fitting = pool_size(settings, num_workers, num_workers, num_cpus, num_gpus)
    if fitting < num_workers:
        raise ServiceError(
            f"a training with num_workers={num_workers} needs {num_workers} times {num_cpus:g} CPUs and {num_gpus:g} "
            f"GPUs at once, and half a CPU beside them; the cluster has room for {fitting}: it would wait for ever. "
            "Lower num_workers or num_threads, or add nodes"
        )


class TrainGroupActor:
    """Nothing that may fail happens before `work`: what a constructor raises looks to Ray like an
    actor that died."""

    def __init__(self, settings: Settings, training: Training, room: PlacementGroup) -> None:
        self._settings, self._training, self._room = settings, training, room
        self._reporter = Reporter("training", node="")

    def work(self) -> ModelVersion:
        """What the first of the workers has published. Raises ActorLost once one is lost, or what
        one raised."""
        from workers.training.torch_trainer import run_group

        training, group = self._training, ray.get_runtime_context().current_actor
        work = partial(train_as_one_of_several, group, self._settings, training)
        version: ModelVersion = run_group(work, self._room, training.fingerprint)
        return version

    def hear(self, report: Report) -> None:
        """What the first worker says."""
        self._reporter.pass_on(report)

    def report(self) -> Report:
        return self._reporter.fetch()


class Messenger(Reporter):
    """Reports at once, to the group, which the driver asks."""

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
        self._group.hear.remote(self.fetch())


def train_as_one_of_several(
    group: Any, settings: Settings, training: Training
) -> ModelVersion | None:
    """A worker's part: that of a training's only actor, of whose reports only the first worker's
    are heard."""
    from aigc_models.training.data_parallel import is_first, rank
    from workers.training.torch_trainer import first_line

    node = ray.util.get_node_ip_address()
    reporter = Messenger(group, node) if is_first() else Reporter("training", node)
    try:
        return TrainActor(settings, training, reporter).work()
    except NightshiftError:
        raise
    except Exception as exc:
        if is_out_of_memory(exc):
            raise OutOfMemory(f"ran out of memory: {exc}") from exc
        if _is_of_connection(exc):
            raise ActorLost(f"it has lost the others: {first_line(exc)}") from exc
        raise GenerationError(
            f"worker {rank()} of training on {node} failed: {type(exc).__name__}: {exc}"
        ) from exc


def _is_of_connection(exc: Exception) -> bool:
    """Whether torch.distributed raised it, since another worker is gone: gloo's errors have no
    class of their own."""
    from torch.distributed import DistError

    return isinstance(exc, DistError) or (isinstance(exc, RuntimeError) and "gloo" in str(exc))
