"""The input tables of the store: putting files there, whole or not at all, and looking at what is there.

A file is stored as `inputs/TABLE/HASH.parquet`, named by the bytes it was made from: putting it again changes nothing.
"""

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from infra.errors import InputError
from infra.parquet import Footer, iter_batches, open_parquet, read_footer, write_file
from infra.storage import ObjectInfo, Storage
from workers.classes import LabelNames, count_file
from workers.input_files import Batches, open_input
from workers.table_rows import IdRegister, check_rows
from workers.tables import InputTable, check_schema, input_table

FOOTERS_AT_ONCE = 16
Progress = Callable[[str, int], None]
"""Called with a file's name and the number of its rows checked so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PutSummary:
    """What `put_table` found and did; `num_rows` counts the rows of the files given, each file once."""

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


def table_prefix(table_name: str) -> str:
    """Where the files of a table are."""
    return f"inputs/{table_name}/"


def list_input_files(storage: Storage, table_name: str) -> list[ObjectInfo]:
    """The Parquet files of a table, sorted by key; markers such as `_SUCCESS` are left out.

    Raises InputError for a file that is not Parquet by its name: it would silently be no part of the table.
    """
    prefix = table_prefix(input_table(table_name).name)
    found = [info for info in storage.list(prefix) if not info.key.rpartition("/")[2].startswith("_")]
    for info in found:
        if not info.key.endswith(".parquet"):
            raise InputError(f"{info.key} is not a Parquet file: put it with `nightshift inputs put {table_name} FILE`")
    return found


def check_inputs(storage: Storage, table_name: str) -> list[InputFile]:
    """The files of a table with their footers; raises InputError if there are none, or one does not fit the table.

    Reads footers only: files that came by `put_table` were checked row by row then.
    """
    table = input_table(table_name)
    found = list_input_files(storage, table_name)
    with ThreadPoolExecutor(FOOTERS_AT_ONCE) as threads:
        footers = threads.map(lambda info: read_footer(storage, info.key), found)
        files = [InputFile(info, footer) for info, footer in zip(found, footers, strict=True)]
    for file in files:
        check_schema(table, file.footer.schema, file.info.key)
    if not any(file.footer.num_rows for file in files):
        raise InputError(
            f"the input table {table_name} is empty: put files with `nightshift inputs put {table_name} FILES`"
        )
    return files


def put_table(
    storage: Storage,
    table_name: str,
    files: Sequence[Path],
    *,
    replace: bool = False,
    on_progress: Progress | None = None,
) -> PutSummary:
    """Checks every row of every file, then uploads them; uploads nothing if anything is wrong.

    Adds to the table; with `replace` the files become the whole table. Raises InputError for the first problem, also
    for an id that stands twice in the files, or in the files and in the store.
    """
    table = input_table(table_name)
    with tempfile.TemporaryDirectory(prefix="nightshift-inputs-") as folder:
        ids = IdRegister(table.id_column) if table.id_column else None
        names = LabelNames() if table.column("label") else None
        sources = _sources(table, files)
        present = {info.key for info in storage.list(table_prefix(table.name))}
        if ids is not None and not replace:
            _register_stored(storage, table, sorted(present - sources.keys()), ids)
        if names is not None and not replace:
            _add_stored_names(storage, table, names)
        staged = [_stage(table, path, key, Path(folder), ids, names, on_progress) for key, path in sources.items()]
        if ids is not None:
            ids.check()
        new = [file for file in staged if file.key not in present]
        for file in new:
            storage.put_file(file.key, file.path)
    keys = tuple(file.key for file in staged)
    superseded = sorted(present - set(keys)) if replace else []
    storage.delete(superseded)
    return PutSummary(
        table=table.name,
        keys=keys,
        num_rows=sum(file.num_rows for file in staged),
        num_uploaded=len(new),
        num_present=len(staged) - len(new),
        num_removed=len(superseded),
    )


def _sources(table: InputTable, files: Sequence[Path]) -> dict[str, Path]:
    """The key that each file will have; of files with the same bytes one is kept."""
    if not files:
        raise InputError(f"no files were given for the table {table.name}")
    sources: dict[str, Path] = {}
    for path in files:
        if not path.is_file():
            raise InputError(f"{path} is not a file")
        sources.setdefault(input_key(table.name, path), path)
    return sources


def _stage(
    table: InputTable,
    path: Path,
    key: str,
    folder: Path,
    ids: IdRegister | None,
    names: LabelNames | None,
    on_progress: Progress | None,
) -> _Staged:
    """The file checked and written to `folder` as Parquet."""
    target = folder / key.rpartition("/")[2]
    with open_input(table, path) as (schema, batches):
        if names is not None:
            names.add_declared(schema, path.name)
        num_rows = write_file(target, _checked(table, batches, path.name, ids, names, on_progress), schema)
    if num_rows == 0:
        raise InputError(f"{path.name}: the table {table.name} is empty; expected at least one row")
    return _Staged(key, target, num_rows)


def _checked(
    table: InputTable,
    batches: Batches,
    file_name: str,
    ids: IdRegister | None,
    names: LabelNames | None,
    on_progress: Progress | None,
) -> Batches:
    num_rows = 0
    for batch in batches:
        check_rows(table, batch, file_name, num_rows)
        if ids is not None and table.id_column is not None:
            ids.add(batch.column(table.id_column), file_name)
        if names is not None:
            names.add_rows(batch, file_name, num_rows)
        num_rows += batch.num_rows
        if on_progress is not None:
            on_progress(file_name, num_rows)
        yield batch


def _register_stored(storage: Storage, table: InputTable, keys: Sequence[str], ids: IdRegister) -> None:
    assert table.id_column is not None
    for key in keys:
        with open_parquet(storage, key) as file:
            for batch in iter_batches(file, columns=[table.id_column]):
                ids.add(batch.column(0), key)


def _add_stored_names(storage: Storage, table: InputTable, names: LabelNames) -> None:
    for info in list_input_files(storage, table.name):
        for label, name in count_file(storage, info.key, info.etag):
            names.add(label, name, info.key)


def input_key(table_name: str, path: Path) -> str:
    """Where a file of these bytes is kept."""
    with path.open("rb") as file:
        return f"{table_prefix(table_name)}{hashlib.file_digest(file, 'sha256').hexdigest()[:32]}.parquet"
