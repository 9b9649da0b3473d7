"""What a job declares: which table it reads, which model it needs, what a row becomes.

A job is one file in `workers/jobs/` and one line in its `JOBS`. Knows nothing about Ray or flows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from infra.storage import Storage
from workers.overrides import override
from workers.pins import Order, Snapshot
from workers.quality.gates import Gate, Meter

if TYPE_CHECKING:
    from workers.plans.plan import Plan

OUTPUT_COLUMNS = (
    pa.field("row_seed", pa.int64(), nullable=False),
    pa.field("model_version", pa.string(), nullable=False),
)
"""Columns that every published row carries, whatever the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """What may be set for any job with `--set key=value`; all that changes rows is part of a plan's
    fingerprint."""

    seed: int = 0
    """The run seed; a row's seed is a hash of it and of the row's id."""
    rows_per_shard: int = 0
    """0: from the number of rows, about 64 shards of whole batches, of 2,048 rows at the most."""
    batch_rows: int = 64
    """Rows that go through the model together; batches never cross a shard."""
    threads: int = 1
    """CPU threads of one actor, for torch and for making PNG beside it: a setting of the plan,
    since sums differ in their last bits with it."""
    num_gpus: float = 0.0
    """GPUs, or a share of one, for one actor."""
    error_budget: float = 0.01
    """Share of rows that may raise before the partition fails; judged once 20 rows were seen."""
    trace_batches: int = 0
    """Batches of each actor's first shard that a profiler trace is recorded of; 0: none."""

    def __post_init__(self) -> None:
        if self.rows_per_shard < 0 or self.batch_rows < 1 or self.threads < 1:
            raise ValueError("rows_per_shard must be at least 0, batch_rows and threads at least 1")
        if self.trace_batches < 0:
            raise ValueError("trace_batches must not be negative")
        if not 0 <= self.error_budget <= 1:
            raise ValueError("error_budget is a share: between 0 and 1")
        if self.num_gpus < 0 or (self.num_gpus > 1 and self.num_gpus % 1):
            raise ValueError(
                "num_gpus must be a share of one GPU or a whole number, and not negative"
            )


class Preparer(Protocol):
    """Computes the rows of one partition."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """One row for each row to generate, the same for the same plan; holds no more than it needs
        at a time."""
        ...

    def summary(self) -> Mapping[str, Any]:
        """What `Prepared.summary` holds; asked for after the last batch, like `examples`."""
        ...

    def examples(self) -> list[dict[str, Any]]:
        """What the report shows beside some rows; kept in the file of prepared rows only."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """Rows that a job computes from several tables, with a model of its own, before it
    generates."""

    tables: tuple[str, ...]
    """Tables beside the job's own."""
    model: str
    """A key of `workers.models.MODELS`."""
    schema: pa.Schema
    """Of the prepared rows; the job's `columns` are among them."""
    start: Callable[
        [Callable[[], Storage], "Plan", Any, Any, Callable[[float, str], None]], Preparer
    ]
    """(opens the store, plan, model, settings, who hears which share is done and of what) → what
    computes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    name: str
    version: int
    """To be raised by whoever changes what the job generates: published partitions become stale."""
    table: str
    id_column: str
    columns: tuple[str, ...]
    """Columns read from the input table, or of ordered or prepared rows."""
    model: str
    """A key of `workers.models.MODELS`."""
    settings: type[JobSettings]
    output: pa.Schema
    """The generated columns; `passed` (bool) and `checks` (list of problems) among them,
    `OUTPUT_COLUMNS` not."""
    generate: Callable[[Any, pa.Table, Sequence[int], Any], pa.Table]
    """(model, batch, row seeds, settings) → one row for each row of the batch, in the same
    order."""
    meter: Callable[[], Meter]
    """Measures the quality of a partition."""
    gates: tuple[Gate, ...]
    """What must be kept for a partition to be published."""
    orders: Callable[[Storage, Snapshot, Any], tuple[Order, ...]] | None = None
    """(store, snapshot, settings) → the rows to generate, by number. None: one for each input
    row."""
    preparation: Preparation | None = None
    """Where the rows to generate are none of one table, how they come to be."""
    retrain_after_days: int = 7
    """A champion trained on data older than this is retrained before the night's work."""

    @property
    def models(self) -> tuple[str, ...]:
        """All that it needs, in the order of their use."""
        return (self.preparation.model, self.model) if self.preparation else (self.model,)

    @property
    def tables(self) -> tuple[str, ...]:
        """All that it reads."""
        return (self.table, *self.preparation.tables) if self.preparation else (self.table,)

    @property
    def schema(self) -> pa.Schema:
        """The schema of a published part."""
        return pa.schema([*self.output, *OUTPUT_COLUMNS], metadata=self.output.metadata)

    def place_orders(
        self, storage: Storage, snapshot: Snapshot, settings: Any
    ) -> tuple[Order, ...]:
        """What is to be generated by number; empty for a job that makes a row of each input row."""
        return self.orders(storage, snapshot, settings) if self.orders else ()

    def parse_settings(self, overrides: Mapping[str, Any]) -> JobSettings:
        """The job's settings with `overrides` (texts or values); raises InputError that names the
        setting."""
        return override(self.settings(), overrides, f"job {self.name}")
