"""Snapshots of input tables: their objects, the rows of each row group, and the cut."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from typing import TypeVar

from infra.errors import ObjectNotFound
from infra.storage import Storage
from workers.inputs.reading import event_time_column
from workers.inputs.store import InputFile, check_inputs, list_input_files
from workers.pins import InputObject, Snapshot, end_of_day

T = TypeVar("T")
MAX_READS = 5


@dataclass(frozen=True, slots=True)
class Inputs:
    """An input table as its footers describe it now, for snapshots of any date without reading
    more."""

    table: str
    files: tuple[InputFile, ...]

    def snapshot(self, day: date) -> Snapshot:
        """What a run for `day` may read.

        Leaves out files that hold only later rows, so that adding one does not change the past.
        """
        cut = end_of_day(day)
        time_column = event_time_column(self.table)
        past = [file for file in self.files if not _is_future(file, time_column, cut)]
        return Snapshot(self.table, cut.isoformat(), tuple(_input_object(file) for file in past))


def read_inputs(storage: Storage, table: str) -> Inputs:
    """Reads the footer of every object; raises InputError for an empty table or a wrong column."""
    return Inputs(table, tuple(check_inputs(storage, table)))


def take_snapshot(storage: Storage, table: str, day: date) -> Snapshot:
    """The snapshot for one date; raises InputError like `read_inputs`."""
    return read_inputs(storage, table).snapshot(day)


def while_files_change(act: Callable[[], T]) -> T:
    """Calls `act`, which lists and reads input files; retries if `inputs put` has removed some.

    Raises ObjectNotFound after `MAX_READS` attempts.
    """
    for _ in range(MAX_READS - 1):
        with suppress(ObjectNotFound):
            return act()
    return act()


def has_rows(storage: Storage, table: str) -> bool:
    """Whether the table has any file."""
    return bool(list_input_files(storage, table))


def _is_future(file: InputFile, time_column: str | None, cut: datetime) -> bool:
    earliest = file.footer.earliest.get(time_column) if time_column else None
    return earliest is not None and earliest >= cut


def _input_object(file: InputFile) -> InputObject:
    groups = tuple(group.num_rows for group in file.footer.row_groups)
    return InputObject(file.info.key, file.info.etag, file.info.size_bytes, groups)
