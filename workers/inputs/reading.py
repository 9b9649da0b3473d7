"""Reads input tables as their declaration says, whatever optional columns a file has or lacks."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from infra.storage import Storage
from infra.storage.parquet import iter_batches, open_parquet, read_rows
from workers.inputs.tables import input_table


def event_time_column(table: str) -> str | None:
    """The column that says when a row came to be, for tables that have one."""
    return next(
        (column.name for column in input_table(table).columns if column.content == "time"), None
    )


def read_row_group(
    storage: Storage, table: str, key: str, row_group: int, columns: Sequence[str]
) -> pa.Table:
    """The columns of one row group, in their declared types; an optional column that the file lacks
    is null.

    Times are cut to microseconds.
    """
    return _as_declared(
        read_rows(storage, key, columns=columns, row_groups=[row_group]), table, columns
    )


def iter_rows(
    storage: Storage, table: str, key: str, columns: Sequence[str], *, having: str
) -> Iterator[dict[str, Any]]:
    """The file's rows in which column `having` is not null, one by one; holds one batch of them."""
    with open_parquet(storage, key) as file:
        present = [name for name in columns if name in file.schema_arrow.names]
        for batch in iter_batches(file, columns=present):
            rows = _as_declared(pa.Table.from_batches([batch]), table, columns)
            yield from rows.filter(pc.is_valid(rows[having])).to_pylist()


def _as_declared(rows: pa.Table, table: str, columns: Sequence[str]) -> pa.Table:
    types = {column.name: column.type for column in input_table(table).columns}
    arrays = [
        rows[name].cast(types[name], safe=not pa.types.is_timestamp(types[name]))
        if name in rows.column_names
        else pa.nulls(rows.num_rows, types[name])
        for name in columns
    ]
    return pa.table(arrays, names=list(columns))
