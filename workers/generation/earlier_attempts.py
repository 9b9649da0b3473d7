"""What earlier plans with fewer attempts made of a shard: a start for the plan that tries again
what they set aside.

Only a shortcut: where their files are gone every row is generated again from the first attempt on,
to the same end.
"""

from dataclasses import replace
from functools import cached_property

import pyarrow as pa

from infra.errors import ObjectNotFound
from infra.storage import Storage
from infra.storage.parquet import read_rows
from workers.generation.rows import ShardRows
from workers.job import Job
from workers.partitions.manifest import Published, read_published
from workers.partitions.parts import QUARANTINE, part_key, quarantine_key
from workers.plans.plan import Plan


class EarlierAttempts:
    """Looks up what is published once, and parts shard by shard."""

    def __init__(self, storage: Storage, plan: Plan, job: Job) -> None:
        self._storage, self._plan, self._job = storage, plan, job

    @cached_property
    def _published(self) -> Published | None:
        return read_published(self._storage, self._plan.job, self._plan.date)

    def find(self, shard: int, rows: pa.Table) -> ShardRows:
        """What the most attempts so far made of the shard's `rows`; no attempts where nothing is
        there."""
        for attempts in range(self._plan.attempts - 1, 0, -1):
            found = self._read(replace(self._plan, attempts=attempts), shard, rows)
            if found is not None:
                return found
        return ShardRows(self._job)

    def _read(self, plan: Plan, shard: int, rows: pa.Table) -> ShardRows | None:
        try:
            kept = read_rows(self._storage, self._part_key(plan, shard)).cast(self._job.schema)
        except ObjectNotFound:
            return None
        aside = {row["row_id"]: row for row in self._quarantine(plan, shard).to_pylist()}
        kept_ids = set(kept[self._job.id_column].to_pylist())
        ids = rows[self._job.id_column].to_pylist()
        if len(kept_ids) + len(aside) != len(ids) or kept_ids | aside.keys() != set(ids):
            return None  # an id stands for several rows, or the quarantine file is gone: nobody can tell which to try
        result = ShardRows(self._job, plan.attempts, [kept])
        for position, row_id in enumerate(ids):
            if row_id in aside:
                result.set_aside[position] = aside[row_id]
            else:
                result.accepted_at.append(position)
        return result

    def _part_key(self, plan: Plan, shard: int) -> str:
        manifest = self._published.manifest if self._published else None
        if manifest and manifest.fingerprint == plan.fingerprint:
            return manifest.parts[shard].key
        return part_key(plan, shard)

    def _quarantine(self, plan: Plan, shard: int) -> pa.Table:
        try:
            return read_rows(self._storage, quarantine_key(plan, shard))
        except ObjectNotFound:
            return QUARANTINE.empty_table()
