"""Reads what a shard is generated from: rows of an input file that are not from the future,
prepared rows, or the rows of an order."""

from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from infra.errors import InputError
from infra.storage import Storage
from infra.storage.parquet import read_rows
from workers.inputs.reading import event_time_column, read_row_group
from workers.job import Job
from workers.pins import InputObject, Order
from workers.plans.plan import Plan, Shard


class ShardReader:
    """Keeps the last row group in memory, since consecutive shards often share one."""

    def __init__(self, storage: Storage, plan: Plan, job: Job) -> None:
        self._storage, self._plan = storage, plan
        self._time_column = None if plan.prepared else event_time_column(plan.snapshot.table)
        self._columns = [*job.columns, *([self._time_column] if self._time_column else [])]
        self._last: tuple[tuple[str, int], pa.Table] | None = None
        """The last row group: (object key, index) and its rows."""

    def read(self, shard: Shard) -> tuple[pa.Table, int]:
        """Returns the shard's rows before the plan's cut, and the number of future rows left out.

        Raises InputError if the input has changed since it was planned.
        """
        if isinstance(shard.source, Order):
            return _ordered_rows(self._plan.date, shard.source, shard.start, shard.stop), 0
        slices = []
        first = 0  # the row group's first row, counted in the file
        for index, num_rows in enumerate(shard.source.row_groups):
            start = max(shard.start - first, 0)
            stop = min(shard.stop - first, num_rows)
            if start < stop:
                slices.append(self._row_group(shard.source, index).slice(start, stop - start))
            first += num_rows
        rows = pa.concat_tables(slices)
        past = self._without_future(rows)
        return past, rows.num_rows - past.num_rows

    def _require_unchanged(self, item: InputObject) -> None:
        info = self._storage.head(item.key)
        if info is None or info.etag != item.etag:
            what = "changed" if info else "removed"
            raise InputError(f"{item.key} was {what} since the run was planned; run it again")

    def _row_group(self, item: InputObject, index: int) -> pa.Table:
        if self._last is None or self._last[0] != (item.key, index):
            self._require_unchanged(item)
            self._last = ((item.key, index), self._read(item.key, index))
        return self._last[1]

    def _read(self, key: str, index: int) -> pa.Table:
        if self._plan.prepared:
            return read_rows(self._storage, key, columns=self._columns, row_groups=[index])
        return read_row_group(self._storage, self._plan.snapshot.table, key, index, self._columns)

    def _without_future(self, rows: pa.Table) -> pa.Table:
        if not self._time_column:
            return rows
        cut = pa.scalar(datetime.fromisoformat(self._plan.snapshot.cut), pa.timestamp("us", "UTC"))
        return rows.filter(pc.fill_null(pc.less(rows[self._time_column], cut), True))


def _ordered_rows(date: str, order: Order, start: int, stop: int) -> pa.Table:
    num_rows = stop - start
    # The ids contain the date, so that no two nights share a row.
    return pa.table(
        {
            "image_id": [f"{date}-{order.label}-{number:06d}" for number in range(start, stop)],
            "label": pa.array([order.label] * num_rows, pa.int64()),
            "label_name": pa.array([order.label_name] * num_rows, pa.string()),
        }
    )
