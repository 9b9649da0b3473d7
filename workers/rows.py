"""From a shard to its rows: read, cut off the future, generate batch by batch, set aside what failed.

The row contract: every input row appears exactly once, in the part or in the quarantine table. Knows nothing about Ray.
"""

import json
import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from infra.errors import GenerationError, InputError
from infra.storage import Storage
from workers.job import Job
from workers.part import QUARANTINE
from workers.plan import Plan, Shard
from workers.reading import event_time_column, read_row_group
from workers.seeds import row_seeds

log = logging.getLogger("nightshift.rows")


class RowGroupReader:
    """Reads shards; keeps the last row group, since consecutive shards often share one."""

    def __init__(self, storage: Storage, plan: Plan, job: Job) -> None:
        self._storage, self._plan = storage, plan
        self._time_column = event_time_column(plan.snapshot.table)
        self._columns = [*job.columns, *([self._time_column] if self._time_column else [])]
        self._objects = {item.key: item for item in plan.snapshot.objects}
        self._kept: tuple[tuple[str, int], pa.Table] | None = None

    def read(self, shard: Shard) -> tuple[pa.Table, int]:
        """(the shard's rows before the plan's cut, the number of rows left out as future)."""
        self._require_unchanged(shard)
        slices, first = [], 0
        for index, num_rows in enumerate(self._objects[shard.key].row_groups):
            start, stop = max(shard.start - first, 0), min(shard.stop - first, num_rows)
            if start < stop:
                slices.append(self._row_group(shard.key, index).slice(start, stop - start))
            first += num_rows
        rows = pa.concat_tables(slices)
        past = self._past(rows)
        return past, rows.num_rows - past.num_rows

    def _require_unchanged(self, shard: Shard) -> None:
        info = self._storage.head(shard.key)
        if info is None or info.etag != shard.etag:
            raise InputError(
                f"{shard.key} was {'changed' if info else 'removed'} since the run was planned; run it again"
            )

    def _row_group(self, key: str, index: int) -> pa.Table:
        if self._kept is None or self._kept[0] != (key, index):
            table = read_row_group(self._storage, self._plan.snapshot.table, key, index, self._columns)
            self._kept = ((key, index), table)
        return self._kept[1]

    def _past(self, rows: pa.Table) -> pa.Table:
        if not self._time_column:
            return rows
        cut = pa.scalar(datetime.fromisoformat(self._plan.snapshot.cut), pa.timestamp("us", "UTC"))
        return rows.filter(pc.fill_null(pc.less(rows[self._time_column], cut), True))


@dataclass(slots=True)
class ShardRows:
    """What became of a shard's rows so far."""

    accepted: list[pa.Table] = field(default_factory=list)
    set_aside: list[dict[str, Any]] = field(default_factory=list)
    num_rejected: int = 0
    num_quarantined: int = 0

    def table(self, schema: pa.Schema) -> pa.Table:
        return pa.concat_tables(self.accepted) if self.accepted else schema.empty_table()

    def quarantine(self) -> pa.Table:
        return pa.Table.from_pylist(self.set_aside, QUARANTINE)


def generate_rows(
    job: Job, model: Any, model_version: str, rows: pa.Table, settings: Any, on_rows: Callable[[int], None]
) -> ShardRows:
    """Runs the job over fixed batches of `rows`; `on_rows` hears how many rows are done."""
    result = ShardRows()
    for start in range(0, rows.num_rows, settings.batch_rows):
        batch = rows.slice(start, settings.batch_rows)
        _generate_batch(job, model, model_version, batch, settings, result)
        on_rows(min(start + settings.batch_rows, rows.num_rows))
    return result


def _generate_batch(
    job: Job, model: Any, model_version: str, batch: pa.Table, settings: Any, result: ShardRows
) -> None:
    """Generates a batch; one that raises is halved until the row that is to blame stands alone."""
    ids = batch[job.id_column].to_pylist()
    seeds = row_seeds(settings.seed, ids)
    try:
        generated = job.generate(model, batch, seeds, settings)
        if generated[job.id_column].to_pylist() != ids:
            raise GenerationError(f"job {job.name} broke the row contract: other ids came back than went in")
    except Exception as exc:  # noqa: BLE001  one bad row must never kill a job, whatever it raises
        if batch.num_rows > 1:
            half = batch.num_rows // 2
            for part in (batch.slice(0, half), batch.slice(half)):
                _generate_batch(job, model, model_version, part, settings, result)
        else:
            log.warning("row %s raised %s: %s", ids[0], type(exc).__name__, exc)
            result.num_quarantined += 1
            result.set_aside.append(
                _quarantined(ids[0], "generate", str(exc) or type(exc).__name__, traceback.format_exc())
            )
        return
    table = generated.append_column("row_seed", pa.array(seeds, pa.int64()))
    table = table.append_column("model_version", pa.array([model_version] * len(ids), pa.string()))
    table = table.cast(job.schema)
    result.accepted.append(table.filter(table["passed"]))
    for row in table.filter(pc.invert(table["passed"])).to_pylist():
        result.num_rejected += 1
        problems = "; ".join(row["checks"])
        result.set_aside.append(_quarantined(row[job.id_column], "check", problems, "", json.dumps(row, default=str)))


def _quarantined(row_id: str, stage: str, error: str, trace: str, output: str | None = None) -> dict[str, Any]:
    return {"row_id": row_id, "stage": stage, "error": error, "traceback": trace, "attempts": 1, "output": output}
