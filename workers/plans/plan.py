"""What a partition will consist of, fixed before anything is generated.

A plan pins the input objects, the model version and every setting; its hash is the fingerprint.
Shards follow from the plan alone: consecutive rows of one input file, of one order, or of the rows
that a job prepares. Planning reads Parquet footers; rows only where a job's orders depend on them.
"""

import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

from infra.errors import PreconditionFailed
from infra.storage import Storage
from workers.pins import InputObject, ModelPin, Order, Snapshot, digest

SHARDS_AIMED_FOR = 64
SETTINGS_WITHOUT_EFFECT = frozenset({"error_budget", "history_engine", "trace_batches"})
"""Settings that make no other rows: changing them does not throw away what is generated."""
MIN_ROWS_PER_SHARD, MAX_ROWS_PER_SHARD = 64, 2048
"""Or a single batch, where that is smaller than the minimum."""
SHARD_LAYOUT = 2
"""To be raised by whoever changes how rows are divided into shards: parts of one plan must never
mix two layouts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What a job computes its rows from before it generates, beside its own table; and these rows,
    once they are there.

    They follow from everything else that a plan pins.
    """

    snapshots: tuple[Snapshot, ...]
    model: ModelPin
    objects: tuple[InputObject, ...] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    """`counts` of what was found in the inputs, by what people call it; `quality`: figures of the
    prepared rows."""


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
    """Where there are any, they are what is generated, and the snapshot is what they were counted
    from."""
    attempts: int = 1
    """How often a row that is set aside is tried, each time with a seed of its own."""
    prepared: Prepared | None = None
    """Where there is one, its objects are what is generated from."""

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything that changes rows or parts: job version, inputs, cut, model weights,
        settings, layout."""
        making = {
            name: value
            for name, value in self.settings.items()
            if name not in SETTINGS_WITHOUT_EFFECT
        }
        pinned = asdict(replace(self, settings=making, prepared=None))
        if self.prepared:
            pinned["prepared"] = asdict(replace(self.prepared, objects=(), summary={}))
        else:
            del pinned["prepared"]
        return digest(pinned | {"layout": SHARD_LAYOUT})[:16]

    @property
    def prefix(self) -> str:
        """Where the plan and its parts are kept until they are published."""
        return f"{partition_work_prefix(self.job, self.date)}{self.fingerprint}/"

    @property
    def trace_prefix(self) -> str:
        return f"{self.prefix}traces/"

    @property
    def prepared_key(self) -> str:
        """Where prepared rows lie; however often rows are tried, they are the same."""
        return f"{replace(self, attempts=1).prefix}prepared.parquet"

    @property
    def sources(self) -> tuple[InputObject, ...] | tuple[Order, ...]:
        return self.prepared.objects if self.prepared else self.orders or self.snapshot.objects

    @cached_property
    def num_rows(self) -> int:
        """Rows to generate, those included of which only reading tells that they are from the
        future."""
        return sum(source.num_rows for source in self.sources)

    @cached_property
    def rows_per_shard(self) -> int:
        if self.settings["rows_per_shard"]:
            return int(self.settings["rows_per_shard"])
        # batches that are not full cost more a row
        whole = min(int(self.settings["batch_rows"]), MIN_ROWS_PER_SHARD)
        share = -(-self.num_rows // SHARDS_AIMED_FOR)
        return min(MAX_ROWS_PER_SHARD, max(1, -(-share // whole)) * whole)

    @cached_property
    def _last_shards(self) -> list[int]:
        """For each source the number of shards up to and including it."""
        return list(
            accumulate(-(-source.num_rows // self.rows_per_shard) for source in self.sources)
        )

    @property
    def num_shards(self) -> int:
        return self._last_shards[-1] if self._last_shards else 0

    def shard(self, index: int) -> Shard:
        """Shard `index` of [0, num_shards); costs O(log sources)."""
        position = bisect_right(self._last_shards, index)
        source = self.sources[position]
        before = self._last_shards[position - 1] if position else 0
        start = (index - before) * self.rows_per_shard
        return Shard(index, source, start, min(start + self.rows_per_shard, source.num_rows))

    def store(self, storage: Storage) -> None:
        """Writes plan.json; a plan of the same fingerprint that is already there is the same
        plan."""
        document = json.dumps(
            asdict(self) | {"fingerprint": self.fingerprint, "num_shards": self.num_shards},
            indent=1,
        )
        try:
            storage.put(
                f"{self.prefix}plan.json",
                document.encode(),
                if_absent=True,
                content_type="application/json",
            )
        except PreconditionFailed:
            return


def partition_work_prefix(job: str, day: str) -> str:
    return f"work/{job}/dt={day}/"


def partition_output_prefix(job: str, day: str) -> str:
    return f"outputs/{job}/dt={day}/"
