"""What a job declares: the table it reads, the model it needs and what each row becomes.

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
"""Columns of every published row, for all jobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """Settings of every job, set with `--set key=value`.

    Every setting that changes rows is part of a plan's fingerprint.
    """

    seed: int = 0
    """The run seed; a row's seed is a hash of the run seed and the row's id."""
    rows_per_shard: int = 0
    """0: derived from the number of rows, to give about 64 shards of whole batches with at most
    2,048 rows each."""
    batch_rows: int = 64
    """Rows that go through the model together; a batch never crosses a shard."""
    threads: int = 1
    """CPU threads of one actor, for torch and PNG encoding. Part of the fingerprint, because the
    last bits of a sum depend on the number of threads."""
    num_gpus: float = 0.0
    """GPUs of one actor; a fraction is a share of one GPU."""
    error_budget: float = 0.01
    """Share of rows that may raise before the partition fails; checked after 20 rows."""
    trace_batches: int = 0
    """Batches of each actor's first shard to record a profiler trace of; 0: none."""

    def __post_init__(self) -> None:
        if self.rows_per_shard < 0 or self.batch_rows < 1 or self.threads < 1:
            raise ValueError("rows_per_shard must be at least 0, batch_rows and threads at least 1")
        if self.trace_batches < 0:
            raise ValueError("trace_batches must not be negative")
        if not 0 <= self.error_budget <= 1:
            raise ValueError("error_budget must be between 0 and 1")
        if self.num_gpus < 0 or (self.num_gpus > 1 and self.num_gpus % 1):
            expected = "a share of one GPU or a whole number, and not negative"
            raise ValueError(f"num_gpus must be {expected}")


class Preparer(Protocol):
    """Computes the rows of one partition."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yields one row for each row to generate; deterministic for a plan."""
        ...

    def summary(self) -> Mapping[str, Any]:
        """The value of `Prepared.summary`; called after the last batch, like `examples`."""
        ...

    def examples(self) -> list[dict[str, Any]]:
        """Examples for the report; stored only in the file of prepared rows."""
        ...


OnPrepared = Callable[[float, str], None]
"""Called with the share that is done and a description of the current step."""
StartPreparation = Callable[[Callable[[], Storage], "Plan", Any, Any, OnPrepared], Preparer]
"""(opens the store, plan, model, settings, on_progress) → the preparer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """Rows that a job computes from several tables with another model before it generates."""

    tables: tuple[str, ...]
    """Tables it reads besides `Job.table`."""
    model: str
    """A key of `workers.models.MODELS`."""
    schema: pa.Schema
    """Schema of the prepared rows; includes the job's `columns`."""
    start: StartPreparation


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    name: str
    version: int
    """Raise it with every change to what the job generates; published partitions become stale."""
    table: str
    id_column: str
    columns: tuple[str, ...]
    """Columns to read from the input table, from the orders or from the prepared rows."""
    model: str
    """A key of `workers.models.MODELS`."""
    settings: type[JobSettings]
    output: pa.Schema
    """The generated columns, including `passed` (bool) and `checks` (list of problems) but not
    `OUTPUT_COLUMNS`."""
    generate: Callable[[Any, pa.Table, Sequence[int], Any], pa.Table]
    """(model, batch, row seeds, settings) → one row for each row of the batch, in order."""
    meter: Callable[[], Meter]
    """Makes a meter for the quality of one partition."""
    gates: tuple[Gate, ...]
    """Limits a partition must keep to be published."""
    orders: Callable[[Storage, Snapshot, Any], tuple[Order, ...]] | None = None
    """(store, snapshot, settings) → how many rows of which class to generate. None: one row for
    each input row."""
    preparation: Preparation | None = None
    """How to compute the rows to generate from, for a job that needs more than one table."""
    retrain_after_days: int = 7
    """A champion trained on data older than this is retrained before the nightly run."""

    @property
    def models(self) -> tuple[str, ...]:
        """All models of the job, in the order of use."""
        return (self.preparation.model, self.model) if self.preparation else (self.model,)

    @property
    def tables(self) -> tuple[str, ...]:
        """All tables that the job reads."""
        return (self.table, *self.preparation.tables) if self.preparation else (self.table,)

    @property
    def schema(self) -> pa.Schema:
        """The schema of a published part."""
        return pa.schema([*self.output, *OUTPUT_COLUMNS], metadata=self.output.metadata)

    def place_orders(
        self, storage: Storage, snapshot: Snapshot, settings: Any
    ) -> tuple[Order, ...]:
        """The job's orders; empty for a job that generates one row for each input row."""
        return self.orders(storage, snapshot, settings) if self.orders else ()

    def parse_settings(self, overrides: Mapping[str, Any]) -> JobSettings:
        """The job's settings with `overrides` (strings or values) applied.

        Raises InputError naming the wrong setting.
        """
        return override(self.settings(), overrides, f"job {self.name}")
