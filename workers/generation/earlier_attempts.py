"""Results of earlier plans with fewer attempts: a plan that retries rows starts from them.

This is only a shortcut: if their files are gone, every row is generated again from the first
attempt on, with the same result.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import pyarrow as pa

from infra.errors import ObjectNotFound
from infra.storage import Storage
from infra.storage.parquet import read_rows
from workers.generation.rows import ShardRows
from workers.job import Job
from workers.partitions.manifest import Published, read_published
from workers.partitions.parts import part_key, quarantine_key
from workers.plans.plan import Plan


class EarlierAttempts:
    """Reads the manifest once, and parts shard by shard."""

    def __init__(self, storage: Storage, plan: Plan, job: Job) -> None:
        self._storage, self._plan, self._job = storage, plan, job

    @cached_property
    def _published(self) -> Published | None:
        return read_published(self._storage, self._plan.job, self._plan.date)

    def find(self, shard: int, rows: pa.Table) -> ShardRows:
        """The result of the most attempts so far at the shard's `rows`; without any attempt if none
        is found."""
        for attempts in range(self._plan.attempts - 1, 0, -1):
            found = self._read(replace(self._plan, attempts=attempts), shard, rows)
            if found is not None:
                return found
        return ShardRows(self._job)

    def _read(self, plan: Plan, shard: int, rows: pa.Table) -> ShardRows | None:
        try:
            part = read_rows(self._storage, self._part_key(plan, shard)).cast(self._job.schema)
        except ObjectNotFound:
            return None
        ids = rows[self._job.id_column].to_pylist()
        accepted_ids = set(part[self._job.id_column].to_pylist())
        set_aside = self._read_quarantine(plan, shard)
        # If an id stands for several rows, or the quarantine file is gone, it is unknown which rows
        # to retry.
        has_each_once = len(accepted_ids) + len(set_aside) == len(ids)
        if not has_each_once or accepted_ids | set_aside.keys() != set(ids):
            return None
        result = ShardRows(self._job, plan.attempts, [part])
        for position, row_id in enumerate(ids):
            if row_id in set_aside:
                result.set_aside[position] = set_aside[row_id]
            else:
                result.accepted_positions.append(position)
        return result

    def _part_key(self, plan: Plan, shard: int) -> str:
        manifest = self._published.manifest if self._published else None
        if manifest and manifest.fingerprint == plan.fingerprint:
            return manifest.parts[shard].key
        return part_key(plan, shard)

    def _read_quarantine(self, plan: Plan, shard: int) -> Mapping[str, dict[str, Any]]:
        """The rows that were set aside, by id; none if there is no file."""
        try:
            table = read_rows(self._storage, quarantine_key(plan, shard))
        except ObjectNotFound:
            return {}
        return {row["row_id"]: row for row in table.to_pylist()}
