"""Trains a model version for a benchmark, in this process and in a folder, and publishes it."""

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from aigc_models.checkpoint import METRICS
from infra.storage import Storage
from workers.inputs.snapshot import take_snapshot
from workers.model import ModelDeclaration
from workers.registry.versions import ModelVersion, name_version, publish_version


def train_folder(
    storage: Storage,
    declaration: ModelDeclaration,
    family: str,
    day: date,
    folder: Path,
    overrides: Mapping[str, Any],
) -> None:
    """Trains on the model's first table."""
    settings = declaration.parse_settings(family, overrides)
    snapshot = take_snapshot(storage, declaration.tables[0], day)
    examples = declaration.read_examples(storage, [snapshot], settings)
    declaration.train(
        examples,
        folder,
        settings=settings,
        work_dir=folder.parent / "work",
        on_progress=lambda progress: None,
        on_checkpoint=lambda path: None,
    )


def publish_folder(
    storage: Storage, declaration: ModelDeclaration, family: str, day: date, folder: Path
) -> ModelVersion:
    name, sha256 = name_version(folder, family, day.isoformat())
    version = ModelVersion(
        name=declaration.name,
        version=name,
        family=family,
        through=day.isoformat(),
        weights_sha256=sha256,
        training="",
        trained_on={},
        metrics=json.loads((folder / METRICS).read_text(encoding="utf-8")),
    )
    publish_version(storage, folder, version)
    return version
