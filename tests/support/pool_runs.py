"""Shared by tests of the pool: a store with a catalogue, a small model, plans, and runs that keep
their log lines."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from aigc_models.text.training import TrainingSettings, train_text_model
from infra.settings import Settings
from infra.storage import Storage, open_storage
from infra.storage.parquet import encode
from tests.unit.workers.kettle_texts import examples
from workers.actors.messages import LogLine
from workers.generation.generate import Progress, generate_shards
from workers.inputs.snapshot import take_snapshot
from workers.inputs.tables import ATTRIBUTES
from workers.jobs import JOBS
from workers.partitions.parts import Receipt
from workers.plans.plan import Plan
from workers.plans.planning import make_plan
from workers.registry.versions import ModelVersion, name_version, publish_version

DAY = date(2026, 11, 22)
JOB = JOBS["product_descriptions"]
CATALOGUES = {"a": 48, "b": 8, "c": 2, "d": 40}
"""The catalogue's files and their numbers of products. Each begins with a whole shard of products
from the future, so that a test can catch an actor that has loaded its model and generated nothing
yet."""
SLOWLY = {"rows_per_shard": 4, "batch_rows": 1, "num_candidates": 80}
"""Settings that make shards slow, so that a test can interfere in the middle of a run."""


def fill_store(settings: Settings) -> Storage:
    """Fills the store of `settings` with a catalogue and training texts."""
    storage = open_storage(settings)
    texts = examples(300)
    facts = [
        [{"key": key, "value": value} for key, value in text.request.attributes] for text in texts
    ]
    noon = datetime(DAY.year, DAY.month, DAY.day, 12, tzinfo=UTC)
    for name, num_products in CATALOGUES.items():
        num_future = num_products if num_products < 48 else SLOWLY["rows_per_shard"]
        times = [noon + timedelta(days=1)] * num_future + [noon] * num_products
        ids = pa.array([f"{name}{number}" for number in range(len(times))])
        attributes = pa.array(facts[: len(times)], ATTRIBUTES)
        columns = {"product_id": ids, "title": ids, "attributes": attributes}
        table = pa.table(columns | {"updated_at": pa.array(times, pa.timestamp("us", "UTC"))})
        storage.put(f"inputs/catalog/{name}.parquet", encode(table, table.schema, {}))
    columns = {"intent": ["inform"] * len(texts), "attributes": pa.array(facts, ATTRIBUTES)}
    table = pa.table(columns | {"reference": [text.reference for text in texts]})
    storage.put("inputs/copy_examples/a.parquet", encode(table, table.schema, {}))
    return storage


def publish_small_model(storage: Storage, folder: Path) -> ModelVersion:
    """Trains a model below `folder` for a few seconds and publishes it."""
    small = TrainingSettings(
        max_steps=120, cpu_budget_s=None, width=32, num_layers=2, num_heads=2, num_scored=5
    )
    train_text_model(examples(300), folder / "version", settings=small, work_dir=folder / "work")
    name, sha256 = name_version(folder / "version", "gpt", DAY.isoformat())
    version = ModelVersion(
        name=JOB.model,
        version=name,
        family="gpt",
        through=DAY.isoformat(),
        weights_sha256=sha256,
        training="none",
        trained_on={},
    )
    publish_version(storage, folder / "version", version)
    return version


def make(storage: Storage, model: ModelVersion, file: str, **overrides: float) -> Plan:
    """A plan for the products of one file."""
    snapshot = take_snapshot(storage, JOB.table, DAY)
    objects = tuple(item for item in snapshot.objects if item.key.endswith(f"/{file}.parquet"))
    return make_plan(
        JOB, DAY, replace(snapshot, objects=objects), model.pin, JOB.parse_settings(overrides)
    )


def hashes(receipts: list[Receipt]) -> list[str]:
    return [receipt.sha256 for receipt in receipts]


@dataclass
class Run:
    """A run of a plan from its start, with its log lines; `meanwhile` receives its progress."""

    settings: Settings
    storage: Storage
    plan: Plan
    meanwhile: Callable[[Progress], None] = lambda progress: None
    lines: list[LogLine] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.storage.delete([item.key for item in self.storage.list(self.plan.prefix)])

    def finish(self, num_actors: int = 0, *, background: bool = False) -> list[Receipt]:
        return generate_shards(
            self.settings,
            self.storage,
            self.plan,
            self.lines.append,
            self.meanwhile,
            num_actors=num_actors,
            background=background,
        )

    def said(self, text: str) -> list[str]:
        return [line.text for line in self.lines if text in line.text]

    @property
    def warnings(self) -> list[str]:
        return [line.text for line in self.lines if line.level >= logging.WARNING]


@dataclass
class Once:
    """Acts once `num_shards` shards are done: calls `act` until it returns True."""

    num_shards: int
    act: Callable[[], bool]
    is_done: bool = False

    def __call__(self, progress: Progress) -> None:
        if not self.is_done and progress.done_shards >= self.num_shards:
            self.is_done = self.act()
