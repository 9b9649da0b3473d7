"""Snapshots of input tables: which objects are there, how many rows each row group has, and where the future begins."""

from datetime import date

from infra.errors import InputError
from infra.storage import Storage
from workers.inputs import check_inputs, list_input_files
from workers.plan import InputObject, Snapshot, end_of_day


def take_snapshot(storage: Storage, table: str, day: date) -> Snapshot:
    """Reads one footer for each object of the table; raises InputError when there is nothing or a column is wrong."""
    if not has_rows(storage, table):
        raise InputError(f"the input table {table} is empty: load it with `nightshift inputs put {table} FILE…`")
    objects = tuple(
        InputObject(
            file.info.key,
            file.info.etag,
            file.info.size_bytes,
            tuple(group.num_rows for group in file.footer.row_groups),
        )
        for file in check_inputs(storage, table)
    )
    return Snapshot(table, end_of_day(day).isoformat(), objects)


def has_rows(storage: Storage, table: str) -> bool:
    """Whether anything was loaded into the table."""
    return bool(list_input_files(storage, table))
