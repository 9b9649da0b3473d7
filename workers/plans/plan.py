"""The plan of a partition, fixed before generation starts.

A plan pins the input objects, the model version and every setting; its hash is the fingerprint.
Shards are derived, not stored: a shard is a range of rows of one input file, of one order or of the
prepared rows. Planning reads Parquet footers, and reads rows only for jobs whose orders need them.
"""

import json
from bisect import bisect_right
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

from infra.errors import PreconditionFailed
from infra.storage import Storage
from workers.pins import InputObject, ModelPin, Order, Snapshot, digest

SHARDS_AIMED_FOR = 64
SETTINGS_WITHOUT_EFFECT = frozenset({"error_budget", "history_engine", "trace_batches"})
"""Settings that do not change rows, and so are not part of the fingerprint."""
MIN_ROWS_PER_SHARD = 64
"""A shard may be as small as one batch if that has fewer rows."""
MAX_ROWS_PER_SHARD = 2048
SHARD_LAYOUT = 2
"""Raise it with every change to how rows are divided into shards: the parts of one plan must never
mix two layouts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The further inputs of a job that prepares its rows, and the prepared rows once they exist.

    The prepared rows are determined by everything else that the plan pins.
    """

    snapshots: tuple[Snapshot, ...]
    model: ModelPin
    objects: tuple[InputObject, ...] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    """`counts`: what the inputs held, by display name; `quality`: figures of the prepared rows."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Rows [start, stop) of one input object or order."""

    index: int
    source: InputObject | Order
    start: int
    stop: int


@dataclass(frozen=True)
class Plan:
    job: str
    job_version: int
    date: str
    snapshot: Snapshot
    model: ModelPin
    settings: Mapping[str, Any]
    orders: tuple[Order, ...] = ()
    """If there are any, they say what to generate; the snapshot is what they were counted from."""
    attempts: int = 1
    """How often a rejected row is tried, each time with a different seed."""
    prepared: Prepared | None = None
    """If set, its objects are the rows to generate from."""

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything that changes rows or parts.

        That is the job version, inputs, cut, model weights, settings and shard layout.
        """
        effective = {
            name: value
            for name, value in self.settings.items()
            if name not in SETTINGS_WITHOUT_EFFECT
        }
        pinned = asdict(replace(self, settings=effective, prepared=None))
        if self.prepared:
            # The rows are derived from what is pinned, and unknown until they are prepared.
            pinned["prepared"] = asdict(replace(self.prepared, objects=(), summary={}))
        else:
            del pinned["prepared"]
        return digest(pinned | {"layout": SHARD_LAYOUT})[:16]

    @property
    def prefix(self) -> str:
        """The key prefix of the plan and of its parts before they are published."""
        return f"{partition_work_prefix(self.job, self.date)}{self.fingerprint}/"

    @property
    def trace_prefix(self) -> str:
        return f"{self.prefix}traces/"

    @property
    def prepared_key(self) -> str:
        """The key of the prepared rows; the same for any number of attempts."""
        return f"{replace(self, attempts=1).prefix}prepared.parquet"

    @property
    def sources(self) -> tuple[InputObject, ...] | tuple[Order, ...]:
        """The prepared rows, orders or input files to generate from."""
        if self.prepared:
            return self.prepared.objects
        return self.orders or self.snapshot.objects

    @cached_property
    def num_rows(self) -> int:
        """Rows to generate, including rows that will turn out to lie after the cut when read."""
        return sum(source.num_rows for source in self.sources)

    @cached_property
    def rows_per_shard(self) -> int:
        if self.settings["rows_per_shard"]:
            return int(self.settings["rows_per_shard"])
        # Only whole batches, because a batch that is not full costs more per row.
        batch_rows = min(int(self.settings["batch_rows"]), MIN_ROWS_PER_SHARD)
        rows_aimed_for = ceil_div(self.num_rows, SHARDS_AIMED_FOR)
        num_batches = max(1, ceil_div(rows_aimed_for, batch_rows))
        return min(MAX_ROWS_PER_SHARD, num_batches * batch_rows)

    @cached_property
    def _shard_ends(self) -> list[int]:
        """For each source, the number of shards up to and including it."""
        num_shards = (ceil_div(source.num_rows, self.rows_per_shard) for source in self.sources)
        return list(accumulate(num_shards))

    @property
    def num_shards(self) -> int:
        return self._shard_ends[-1] if self._shard_ends else 0

    def shard(self, index: int) -> Shard:
        """Shard `index` of [0, num_shards); costs O(log sources)."""
        position = bisect_right(self._shard_ends, index)
        source = self.sources[position]
        shards_before = self._shard_ends[position - 1] if position else 0
        start = (index - shards_before) * self.rows_per_shard
        return Shard(index, source, start, min(start + self.rows_per_shard, source.num_rows))

    def store(self, storage: Storage) -> None:
        """Writes plan.json if it does not exist yet."""
        derived = {"fingerprint": self.fingerprint, "num_shards": self.num_shards}
        document = json.dumps(asdict(self) | derived, indent=1).encode()
        key = f"{self.prefix}plan.json"
        # The key holds the fingerprint, so a plan that is already there is the same plan.
        with suppress(PreconditionFailed):
            storage.put(key, document, if_absent=True, content_type="application/json")


def ceil_div(dividend: int, divisor: int) -> int:
    """The quotient, rounded up."""
    return -(-dividend // divisor)


def partition_work_prefix(job: str, day: str) -> str:
    return f"work/{job}/dt={day}/"


def partition_output_prefix(job: str, day: str) -> str:
    return f"outputs/{job}/dt={day}/"
