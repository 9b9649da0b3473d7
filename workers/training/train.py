"""Trains a model on Ray, once per data and settings, and lets it challenge the champion."""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import date
from typing import Any

from infra.errors import InputError, PreconditionFailed
from infra.settings import Settings
from infra.storage import Storage
from workers.actors.cluster import actor_needs, connect, has_gpus
from workers.actors.messages import LogLine, Watcher
from workers.actors.single_actor import run_on_one_actor
from workers.inputs.snapshot import has_rows, take_snapshot
from workers.model import ModelDeclaration
from workers.models import MODELS
from workers.pins import Snapshot, digest
from workers.registry.versions import (
    ModelVersion,
    find_version,
    list_versions,
    read_champion,
    replace_champion,
)
from workers.training.group_actor import TrainGroupActor, require_capacity
from workers.training.train_actor import TrainActor, Training

MAX_CHALLENGES = 10
"""How often a challenge is repeated because another run has replaced the champion meanwhile."""


def plan_training(
    storage: Storage,
    model: str,
    family: str,
    day: date,
    overrides: Mapping[str, Any],
    *,
    quick: bool = False,
    again: bool = False,
) -> Training:
    """Pins a training's data and settings.

    With `again` its fingerprint differs from those of earlier trainings, so that it is retrained.
    """
    declaration = MODELS[model]
    snapshots = _training_snapshots(storage, declaration, day)
    survey = declaration.survey(storage, snapshots)
    settings = declaration.parse_settings(family, overrides, quick=quick, survey=survey)
    earlier = len(list_versions(storage, model)) if again else 0
    fingerprint = digest(
        [
            model,
            declaration.version,
            [asdict(item) for item in snapshots],
            asdict(settings),
            earlier,
        ]
    )
    return Training(
        name=model,
        fingerprint=fingerprint[:16],
        through=day.isoformat(),
        snapshots=snapshots,
        settings=settings,
    )


def _training_snapshots(
    storage: Storage, declaration: ModelDeclaration, day: date
) -> list[Snapshot]:
    present = [table for table in declaration.tables if has_rows(storage, table)]
    if not present:
        raise InputError(
            f"model {declaration.name} learns from {' or '.join(declaration.tables)}, "
            f"and both are empty: `nightshift inputs put {declaration.tables[0]} FILE…`"
        )
    return [take_snapshot(storage, table, day) for table in present]


def train(
    settings: Settings, storage: Storage, training: Training, watcher: Watcher
) -> ModelVersion:
    """Returns the version that `training` makes: an existing one, or one trained now.

    An actor that dies or stalls is replaced, and the training resumes from the last checkpoint.
    `watcher` receives the finished fraction.
    """
    for version in list_versions(storage, training.name):
        if version.training == training.fingerprint:
            text = f"{version.version} was already trained with the same data and settings"
            watcher.on_line(LogLine(logging.INFO, text))
            return version
    connect(settings)
    num_workers = training.settings.num_workers
    num_cpus = training.settings.num_threads
    num_gpus = 1.0 if has_gpus(settings) else 0.0
    if num_workers > 1:
        require_capacity(settings, num_workers, num_cpus, num_gpus)
    trained: ModelVersion = run_on_one_actor(
        TrainGroupActor if num_workers > 1 else TrainActor,
        settings,
        training,
        needs=actor_needs(settings, num_cpus, num_gpus),
        label="training",
        watcher=watcher,
        advice="Lower the batch size or the width",
        num_workers=num_workers,
    )
    return trained


def challenge(
    storage: Storage, challenger: ModelVersion, on_line: Callable[[LogLine], None]
) -> bool:
    """Makes `challenger` the champion if there is none or its held-out score is higher.

    Returns whether it is the champion now. Both are scored on the examples that the challenger held
    out.
    """
    name, version = challenger.name, challenger.version
    for _ in range(MAX_CHALLENGES):
        found = read_champion(storage, name)
        if found and found.version == version:
            return True
        champion = find_version(storage, name, found.version) if found else None
        is_better, why = _compare(challenger, champion)
        if not is_better:
            on_line(LogLine(logging.INFO, f"{version} stays a challenger: {why}"))
            return False
        try:
            replace_champion(storage, name, version, why, found)
        except PreconditionFailed:
            continue  # another run has made a new champion: challenge that one
        on_line(LogLine(logging.INFO, f"{version} is the champion: {why}"))
        return True
    text = f"{version} was not promoted: other runs replaced the champion again and again"
    on_line(LogLine(logging.WARNING, text))
    return False


def _compare(challenger: ModelVersion, champion: ModelVersion | None) -> tuple[bool, str]:
    """Whether the challenger is better, and why."""
    if champion is None:
        return True, "the first version"
    score = MODELS[challenger.name].score
    ours = score(challenger.metrics)
    # Without metrics this version of the code cannot read the champion.
    champion_metrics = challenger.rivals.get(champion.version, champion.metrics)
    theirs = score(champion_metrics) if champion_metrics else -math.inf
    return ours > theirs, f"held-out score {ours:.4f} against {theirs:.4f} of {champion.version}"
