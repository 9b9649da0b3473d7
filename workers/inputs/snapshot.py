"""Snapshots of input tables: which objects are there, how many rows each row group has, and where
the future begins."""

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
    """An input table as its footers describe it now; snapshots for any number of dates follow
    without reading more."""

    table: str
    files: tuple[InputFile, ...]

    def snapshot(self, day: date) -> Snapshot:
        """What a run for `day` may see. A file with nothing but later rows is left out: its coming
        changes no past."""
        cut = end_of_day(day)
        past = [
            file for file in self.files if not _is_future(file, event_time_column(self.table), cut)
        ]
        return Snapshot(self.table, cut.isoformat(), tuple(_input_object(file) for file in past))


def read_inputs(storage: Storage, table: str) -> Inputs:
    """Reads one footer for each object of the table; raises InputError when there is nothing or a
    column is wrong."""
    return Inputs(table, tuple(check_inputs(storage, table)))


def take_snapshot(storage: Storage, table: str, day: date) -> Snapshot:
    """The snapshot of one date; raises InputError as `read_inputs` does."""
    return read_inputs(storage, table).snapshot(day)


def while_files_change(act: Callable[[], T]) -> T:
    """What `act` gives, which lists input files and reads them; once more where `inputs put` has
    removed some of them in between. Raises ObjectNotFound where that goes on and on."""
    for _ in range(MAX_READS - 1):
        with suppress(ObjectNotFound):
            return act()
    return act()


def has_rows(storage: Storage, table: str) -> bool:
    """Whether anything was loaded into the table."""
    return bool(list_input_files(storage, table))


def _is_future(file: InputFile, time_column: str | None, cut: datetime) -> bool:
    earliest = file.footer.earliest.get(time_column) if time_column else None
    return earliest is not None and earliest >= cut


def _input_object(file: InputFile) -> InputObject:
    groups = tuple(group.num_rows for group in file.footer.row_groups)
    return InputObject(file.info.key, file.info.etag, file.info.size_bytes, groups)
