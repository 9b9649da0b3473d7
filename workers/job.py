"""What a job declares: which table it reads, which model it needs, what a row becomes.

A job is one file in `workers/jobs/` and one line in its `JOBS`. Knows nothing about storage, Ray or flows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from aigc_models.text import Sampling, TextModel
from workers.overrides import override

OUTPUT_COLUMNS = (
    pa.field("row_seed", pa.int64(), nullable=False),
    pa.field("model_version", pa.string(), nullable=False),
)
"""Columns that every published row carries, whatever the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """What may be set for any job with `--set key=value`; all but the error budget is part of a plan's fingerprint."""

    seed: int = 0
    """The run seed; a row's seed is a hash of it and of the row's id."""
    rows_per_shard: int = 0
    """0: from the number of rows alone, about 64 shards of 16 to 2,048 rows."""
    batch_rows: int = 32
    """Rows that go through the model together; batches never cross a shard."""
    num_candidates: int = 10
    """Texts sampled for each sentence, beside the greedy one; the best faithful one is kept."""
    temperature: float = 0.5
    threads: int = 1
    """CPU threads of one actor: a setting of the plan, since sums differ in their last bits with it."""
    num_gpus: float = 0.0
    """GPUs, or a share of one, for one actor."""
    error_budget: float = 0.01
    """Share of rows that may raise before the partition fails; judged once 20 rows were seen."""

    def __post_init__(self) -> None:
        if self.rows_per_shard < 0 or self.batch_rows < 1 or self.threads < 1:
            raise ValueError("rows_per_shard must be at least 0, batch_rows and threads at least 1")
        if not 0 <= self.error_budget <= 1:
            raise ValueError("error_budget is a share: between 0 and 1")
        if self.num_gpus < 0:
            raise ValueError("num_gpus must not be negative")
        self.sampling()

    def sampling(self) -> Sampling:
        return Sampling(num_candidates=self.num_candidates, temperature=self.temperature)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """Limits that a partition must keep to be published; see `workers.checks`."""

    min_passed_share: float = 0.8
    max_duplicate_share: float = 0.2
    min_distinct_2: float = 0.002
    """Different word pairs over all word pairs, of at most 10,000 texts."""
    max_length_drift: float = 0.5
    """Change of the mean length against the last published partition, as a share of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    name: str
    version: int
    """To be raised by whoever changes what the job generates: published partitions become stale."""
    table: str
    id_column: str
    columns: tuple[str, ...]
    """Columns read from the input table."""
    model: str
    """A key of `workers.models.MODELS`."""
    settings: type[JobSettings]
    output: pa.Schema
    """The generated columns; `passed` (bool) and `checks` (list of problems) among them, `OUTPUT_COLUMNS` not."""
    generate: Callable[[TextModel, pa.Table, Sequence[int], Any], pa.Table]
    """(model, batch, row seeds, settings) → one row for each row of the batch, in the same order."""
    gates: Gates = Gates()
    retrain_after_days: int = 7
    """A champion trained on data older than this is retrained before the night's work."""

    @property
    def schema(self) -> pa.Schema:
        """The schema of a published part."""
        return pa.schema([*self.output, *OUTPUT_COLUMNS])

    def parse_settings(self, overrides: Mapping[str, Any]) -> JobSettings:
        """The job's settings with `overrides` (texts or values); raises InputError that names the setting."""
        return override(self.settings(), overrides, f"job {self.name}")
