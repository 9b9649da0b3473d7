"""Reads input tables in their declared types, whichever optional columns a file has."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from infra.storage import Storage
from infra.storage.parquet import iter_batches, open_parquet, read_rows
from workers.inputs.tables import input_table


def event_time_column(table: str) -> str | None:
    """The column that dates a row, or None for a table without one."""
    names = (column.name for column in input_table(table).columns if column.content == "time")
    return next(names, None)


def is_in_even_sample(index: int, num_rows: int, num_wanted: int) -> bool:
    """Whether row `index` is one of `num_wanted` rows at even distances among `num_rows`."""
    return (index + 1) * num_wanted // num_rows > index * num_wanted // num_rows


def read_row_group(
    storage: Storage, table: str, key: str, row_group: int, columns: Sequence[str]
) -> pa.Table:
    """The columns of one row group in their declared types; missing optional columns are null.

    Truncates times to microseconds.
    """
    rows = read_rows(storage, key, columns=columns, row_groups=[row_group])
    return _as_declared(rows, table, columns)


def iter_rows(
    storage: Storage, table: str, key: str, columns: Sequence[str], *, having: str
) -> Iterator[dict[str, Any]]:
    """Yields the file's rows in which the column `having` is not null; holds one batch of them."""
    with open_parquet(storage, key) as file:
        present = [name for name in columns if name in file.schema_arrow.names]
        for batch in iter_batches(file, columns=present):
            rows = _as_declared(pa.Table.from_batches([batch]), table, columns)
            yield from rows.filter(pc.is_valid(rows[having])).to_pylist()


def _as_declared(rows: pa.Table, table: str, columns: Sequence[str]) -> pa.Table:
    types = {column.name: column.type for column in input_table(table).columns}
    arrays = []
    for name in columns:
        type_ = types[name]
        if name in rows.column_names:
            # an unsafe cast truncates finer times instead of raising
            arrays.append(rows[name].cast(type_, safe=not pa.types.is_timestamp(type_)))
        else:
            arrays.append(pa.nulls(rows.num_rows, type_))
    return pa.table(arrays, names=list(columns))
