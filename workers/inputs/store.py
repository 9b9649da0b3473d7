"""The input tables in the store: putting files, listing and checking them.

A file is stored as `inputs/TABLE/HASH.parquet`, named by the hash of the bytes it was made from, so
putting it again changes nothing. Readers see all files of a put or none; see `hidden.py`.
Names that start with `_` or `.`, also of folders, are markers and unfinished writes of other
software, and are ignored.
"""

import hashlib
import tempfile
from collections.abc import Callable, Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from infra.errors import InputError
from infra.storage import ObjectInfo, Storage
from infra.storage.parquet import Footer, iter_batches, open_parquet, read_footer, write_file
from workers.inputs.classes import LabelNames, count_file
from workers.inputs.files import Batches, open_input
from workers.inputs.hidden import delete_hidden, hide, list_visible, table_prefix
from workers.inputs.rows import IdRegister, check_rows
from workers.inputs.tables import InputTable, check_schema, input_table

FOOTERS_AT_ONCE = 16
Progress = Callable[[str, int], None]
"""Called with a file's name and the number of its rows checked so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PutSummary:
    """What `put_table` found and did; `num_rows` counts the rows of the given files, each file
    once."""

    table: str
    keys: tuple[str, ...]
    num_rows: int
    num_uploaded: int
    num_present: int
    num_removed: int


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of an input table, as its footer and the store's listing describe it."""

    info: ObjectInfo
    footer: Footer


@dataclass(frozen=True, slots=True)
class _Staged:
    """A checked file, written as Parquet on this machine."""

    key: str
    path: Path
    num_rows: int


def list_input_files(storage: Storage, table_name: str) -> list[ObjectInfo]:
    """The Parquet files of a table, sorted by key; either all files of a put or none.

    Raises InputError for a file without the suffix `.parquet`, which would otherwise be silently
    ignored.
    """
    name = input_table(table_name).name
    prefix = table_prefix(name)
    files = []
    for info in list_visible(storage, name):
        if _is_marker(info.key.removeprefix(prefix)):
            continue
        if not info.key.endswith(".parquet"):
            command = f"nightshift inputs put {table_name} FILE"
            raise InputError(f"{info.key} is not a Parquet file: put it with `{command}`")
        files.append(info)
    return files


def _is_marker(name: str) -> bool:
    return any(part.startswith(("_", ".")) for part in name.split("/"))


def check_inputs(storage: Storage, table_name: str) -> list[InputFile]:
    """The files of a table with their footers.

    Reads footers only, because `put_table` has checked every row. Raises InputError for an empty
    table or a file with wrong columns.
    """
    table = input_table(table_name)
    infos = list_input_files(storage, table_name)
    with ThreadPoolExecutor(FOOTERS_AT_ONCE) as threads:
        footers = threads.map(lambda info: read_footer(storage, info.key), infos)
        files = [InputFile(info, footer) for info, footer in zip(infos, footers, strict=True)]
    for file in files:
        check_schema(table, file.footer.schema, file.info.key)
    if not any(file.footer.num_rows for file in files):
        command = f"nightshift inputs put {table_name} FILES"
        raise InputError(f"the input table {table_name} is empty: put files with `{command}`")
    return files


def put_table(
    storage: Storage,
    table_name: str,
    files: Sequence[Path],
    *,
    replace: bool = False,
    on_progress: Progress | None = None,
) -> PutSummary:
    """Checks every row of every file, then uploads the files; uploads nothing if a check fails.

    Adds to the table, or replaces all its files if `replace` is true. Raises InputError for the
    first problem, including an id that occurs twice in the files or is already stored, and
    PreconditionFailed if another put into the table runs at the same time.
    """
    table = input_table(table_name)
    with tempfile.TemporaryDirectory(prefix="nightshift-inputs-") as folder:
        ids = IdRegister(table.id_column) if table.id_column else None
        names = LabelNames() if table.column("label") else None
        checks = _Checks(table, ids, names, on_progress)
        sources = _sources(table, files)
        if not replace:
            checks.add_stored(storage, sources)
        staged = [_stage(checks, path, key, Path(folder)) for key, path in sources.items()]
        if ids is not None:
            ids.check()
        present = delete_hidden(storage, table.name)
        keys = tuple(file.key for file in staged)
        new = [file for file in staged if file.key not in present]
        superseded = sorted(present - set(keys)) if replace else []
        _exchange(storage, table.name, new, superseded)
    return PutSummary(
        table=table.name,
        keys=keys,
        num_rows=sum(file.num_rows for file in staged),
        num_uploaded=len(new),
        num_present=len(staged) - len(new),
        num_removed=len(superseded),
    )


def _exchange(
    storage: Storage, table_name: str, new: Sequence[_Staged], superseded: Sequence[str]
) -> None:
    """Uploads the new files and deletes the superseded ones; readers see all of that or nothing."""
    is_atomic = len(new) + len(superseded) <= 1  # a single upload or deletion needs no hiding
    etag = None if is_atomic else hide(storage, table_name, [file.key for file in new])
    for file in new:
        storage.put_file(file.key, file.path)
    if is_atomic:
        storage.delete(superseded)
    else:
        hide(storage, table_name, superseded, etag)
        delete_hidden(storage, table_name)


def _sources(table: InputTable, files: Sequence[Path]) -> dict[str, Path]:
    """The files by their future keys; of files with the same bytes, only the first."""
    if not files:
        raise InputError(f"no files were given for the table {table.name}")
    sources: dict[str, Path] = {}
    for path in files:
        if not path.is_file():
            raise InputError(f"{path} is not a file")
        sources.setdefault(input_key(table.name, path), path)
    return sources


@dataclass(frozen=True, slots=True)
class _Checks:
    """The checks of one put, on single rows and across all its files."""

    table: InputTable
    ids: IdRegister | None
    names: LabelNames | None
    on_progress: Progress | None

    def add_stored(self, storage: Storage, given: Container[str]) -> None:
        """Adds the ids and label names of the stored files; no ids of files that are `given`."""
        if self.ids is None and self.names is None:
            return
        infos = list_input_files(storage, self.table.name)
        if self.ids is not None:
            for info in infos:
                if info.key not in given:
                    self._add_stored_ids(storage, info.key, self.ids)
        if self.names is not None:
            for info in infos:
                for label, name in count_file(storage, info.key, info.etag):
                    self.names.add(label, name, info.key)

    def _add_stored_ids(self, storage: Storage, key: str, ids: IdRegister) -> None:
        with open_parquet(storage, key) as file:
            for batch in iter_batches(file, columns=[ids.column]):
                ids.add(batch.column(0), key)

    def check(self, batches: Batches, path: Path) -> Batches:
        """Checks each batch of a file, then yields it."""
        file_name = str(path)  # the whole path, because folders may hold files of the same name
        num_rows = 0
        for batch in batches:
            check_rows(self.table, batch, file_name, num_rows)
            if self.ids is not None:
                self.ids.add(batch.column(self.ids.column), file_name)
            if self.names is not None:
                self.names.add_rows(batch, file_name, num_rows)
            num_rows += batch.num_rows
            if self.on_progress is not None:
                self.on_progress(path.name, num_rows)
            yield batch


def _stage(checks: _Checks, path: Path, key: str, folder: Path) -> _Staged:
    """Checks a file and writes it to `folder` as Parquet."""
    target = folder / key.rpartition("/")[2]
    with open_input(checks.table, path) as (schema, batches):
        if checks.names is not None:
            checks.names.add_declared(schema, str(path))
        num_rows = write_file(target, checks.check(batches, path), schema)
    if num_rows == 0:
        name = checks.table.name
        raise InputError(f"{path}: the table {name} is empty; expected at least one row")
    return _Staged(key, target, num_rows)


def input_key(table_name: str, path: Path) -> str:
    """The key of a file, derived from its bytes."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return f"{table_prefix(table_name)}{digest[:32]}.parquet"
