"""The actor that trains: reads examples, trains in a scratch folder, uploads checkpoints."""

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray

from aigc_models.training.settings import TrainingProgress
from infra.errors import GenerationError
from infra.settings import Settings
from infra.storage import open_storage
from workers.actors.messages import Report, Reporter
from workers.models import MODELS
from workers.pins import Snapshot
from workers.registry.model_files import fetch_model, load_model
from workers.registry.versions import ModelVersion, name_version, publish_version, read_champion

log = logging.getLogger("nightshift.train")


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A training with its pinned data and settings: the same training never runs twice."""

    name: str
    fingerprint: str
    through: str
    snapshots: list[Snapshot]
    settings: Any
    """The family's training settings."""

    @property
    def checkpoint_prefix(self) -> str:
        return f"work/models/{self.name}/{self.fingerprint}/"


class TrainActor:
    """Trains in `work`.

    Nothing that may fail happens in the constructor: to Ray its errors look like a dead actor.
    """

    def __init__(
        self, settings: Settings, training: Training, reporter: Reporter | None = None
    ) -> None:
        self._reporter = reporter or Reporter("training", ray.util.get_node_ip_address())
        self._settings, self._training = settings, training
        self._logged_val_loss: float | None = None

    def work(self) -> ModelVersion | None:
        """Trains, or resumes from the last checkpoint of a training that died, and publishes the
        version.

        Of several workers only the first one publishes; the others return None.
        """
        training, declaration = self._training, MODELS[self._training.name]
        if training.settings.torch_compile:
            require_compiler(ray.util.get_node_ip_address())
        self._storage = open_storage(self._settings, is_in_use=True)
        examples = declaration.read_examples(self._storage, training.snapshots, training.settings)
        log.info(
            "%s %s learns from %d examples", training.name, training.settings.family, len(examples)
        )
        with tempfile.TemporaryDirectory() as scratch:
            folder, work_dir = Path(scratch, "version"), Path(scratch, "work")
            work_dir.mkdir()
            if self._storage.download(training.checkpoint_prefix, work_dir):
                log.info("resuming from the last checkpoint")
            metrics = declaration.train(
                examples,
                folder,
                settings=training.settings,
                work_dir=work_dir,
                on_progress=self._report_progress,
                on_checkpoint=lambda path: self._upload_checkpoint(path, work_dir),
            )
            if not metrics:
                return None
            record = self._publish(folder, metrics, examples)
        self._storage.delete([item.key for item in self._storage.list(training.checkpoint_prefix)])
        log.info("%s is ready after %.0f CPU seconds", record.version, metrics["cpu_seconds"])
        return record

    def _publish(self, folder: Path, metrics: Mapping[str, float], examples: Any) -> ModelVersion:
        training = self._training
        version, sha256 = name_version(folder, training.settings.family, training.through)
        record = ModelVersion(
            name=training.name,
            version=version,
            family=training.settings.family,
            through=training.through,
            weights_sha256=sha256,
            training=training.fingerprint,
            trained_on={snapshot.table: _objects(snapshot) for snapshot in training.snapshots},
            metrics={name: float(value) for name, value in metrics.items()},
            rivals=self._score_champion(examples),
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        publish_version(self._storage, folder, record)
        return record

    def _score_champion(self, examples: Any) -> dict[str, dict[str, float]]:
        """The champion's metrics on what this training held out; empty if this version of the code
        cannot read it."""
        from aigc_models.checkpoint import CheckpointError
        from aigc_models.device import resolve_device

        found = read_champion(self._storage, self._training.name)
        if found is None:
            return {}
        name, champion = self._training.name, found.version
        files = fetch_model(self._storage, name, champion)
        try:
            model = load_model(name, files, str(resolve_device(self._training.settings.device)))
        except (CheckpointError, KeyError, RuntimeError) as exc:
            log.warning(
                "the champion %s cannot be read by this version of the code: %s", champion, exc
            )
            return {champion: {}}
        return {champion: MODELS[name].evaluate(model, examples, self._training.settings)}

    def _report_progress(self, progress: TrainingProgress) -> None:
        doing = f"step {progress.step}, loss {progress.loss:.3f}"
        if progress.val_loss is not None:
            doing += f", held-out {progress.val_loss:.3f}"
        if progress.val_loss != self._logged_val_loss:
            self._logged_val_loss = progress.val_loss
            log.info(
                "%s, %.0f %s/s", doing, progress.tokens_per_s, MODELS[self._training.name].unit
            )
        self._reporter.progress(progress.fraction, doing)

    def _upload_checkpoint(self, path: Path, work_dir: Path) -> None:
        name = path.relative_to(work_dir).as_posix()
        self._storage.put_file(f"{self._training.checkpoint_prefix}{name}", path)

    def report(self) -> Report:
        return self._reporter.fetch()


def require_compiler(node: str) -> None:
    """Raises GenerationError if torch finds no C++ compiler to compile a network with."""
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except RuntimeError as exc:
        advice = "install one there (Debian: g++), or train without it"
        raise GenerationError(
            f"torch_compile needs a C++ compiler on {node}: {advice} ({exc})"
        ) from exc


def _objects(snapshot: Snapshot) -> list[dict[str, Any]]:
    return [
        {"key": item.key, "etag": item.etag, "rows": item.num_rows} for item in snapshot.objects
    ]
