"""The input tables of the store: putting files there, whole or not at all, and looking at what is
there.

A file is stored as `inputs/TABLE/HASH.parquet`, named by the bytes it was made from: putting it
again changes nothing.

Where a put changes several files, `inputs/TABLE/_hidden.json` keeps what is half done from readers.
It names files that are no part of the table: at first those that are being uploaded, then in one
write those that they replace, until these are removed. The next put removes what a killed one left
hidden. Names that start with `_` or `.`, of folders too, are other software's markers and
unfinished writes. Puts into one table are to follow each other; one that is overtaken says so.
"""

import hashlib
import json
import tempfile
import uuid
from collections.abc import Callable, Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from infra.errors import InputError, ObjectNotFound, PreconditionFailed
from infra.storage import ObjectInfo, Storage
from infra.storage.parquet import Footer, iter_batches, open_parquet, read_footer, write_file
from workers.inputs.classes import LabelNames, count_file
from workers.inputs.files import Batches, open_input
from workers.inputs.rows import IdRegister, check_rows
from workers.inputs.tables import InputTable, check_schema, input_table

FOOTERS_AT_ONCE = 16
HIDDEN = "_hidden.json"
Progress = Callable[[str, int], None]
"""Called with a file's name and the number of its rows checked so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PutSummary:
    """What `put_table` found and did; `num_rows` counts the rows of the files given, each file
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


def table_prefix(table_name: str) -> str:
    """Where the files of a table are."""
    return f"inputs/{table_name}/"


def list_input_files(storage: Storage, table_name: str) -> list[ObjectInfo]:
    """The Parquet files of a table, sorted by key: all that a put brought, or none; markers are
    left out.

    Raises InputError for a file that is not Parquet by its name: it would silently be no part of
    the table.
    """
    prefix = table_prefix(input_table(table_name).name)
    after = _read_hidden(storage, prefix)
    while True:
        before, infos, after = after, list(storage.list(prefix)), _read_hidden(storage, prefix)
        if before == after:
            break
    found = [
        info
        for info in infos
        if info.key not in after and not _is_marker(info.key.removeprefix(prefix))
    ]
    for info in found:
        if not info.key.endswith(".parquet"):
            raise InputError(
                f"{info.key} is not a Parquet file: put it with `nightshift inputs put {table_name} FILE`"
            )
    return found


def _is_marker(name: str) -> bool:
    return any(part.startswith(("_", ".")) for part in name.split("/"))


def _read_hidden(storage: Storage, prefix: str) -> list[str]:
    try:
        hidden: list[str] = json.loads(storage.get(f"{prefix}{HIDDEN}"))["hidden"]
    except ObjectNotFound:
        return []
    return hidden


def check_inputs(storage: Storage, table_name: str) -> list[InputFile]:
    """The files of a table with their footers; raises InputError if there are none, or one does not
    fit the table.

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

    Adds to the table; with `replace` the files become the whole table. Raises InputError for the
    first problem, also for an id that stands twice in the files, or in the files and in the store;
    PreconditionFailed where another put into the table went on at the same time.
    """
    table = input_table(table_name)
    with tempfile.TemporaryDirectory(prefix="nightshift-inputs-") as folder:
        ids = IdRegister(table.id_column) if table.id_column else None
        names = LabelNames() if table.column("label") else None
        sources = _sources(table, files)
        if ids is not None and not replace:
            _register_stored(storage, table, sources.keys(), ids)
        if names is not None and not replace:
            _add_stored_names(storage, table, names)
        staged = [
            _stage(table, path, key, Path(folder), ids, names, on_progress)
            for key, path in sources.items()
        ]
        if ids is not None:
            ids.check()
        present = _remove_hidden(storage, table.name)
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


def _remove_hidden(storage: Storage, table_name: str) -> set[str]:
    """Ends what a put that was killed had begun; returns the keys that are there then."""
    prefix = table_prefix(table_name)
    present = {info.key for info in storage.list(prefix)}
    marker = f"{prefix}{HIDDEN}"
    if marker not in present:
        return present
    hidden = _read_hidden(storage, prefix)
    storage.delete(hidden)
    storage.delete([marker])  # last: what is not removed yet must stay hidden
    return present - {*hidden, marker}


def _exchange(
    storage: Storage, table_name: str, new: Sequence[_Staged], superseded: Sequence[str]
) -> None:
    """Uploads files and removes others; readers see all of that or nothing."""
    needs_hiding = len(new) + len(superseded) > 1
    etag = _hide(storage, table_name, [file.key for file in new]) if needs_hiding else None
    for file in new:
        storage.put_file(file.key, file.path)
    if needs_hiding:
        _hide(storage, table_name, superseded, etag)
        _remove_hidden(storage, table_name)
    else:
        storage.delete(superseded)


def _hide(storage: Storage, table_name: str, keys: Sequence[str], etag: str | None = None) -> str:
    """Writes which files are hidden, over the object of that etag or where none is; returns the new
    one."""
    key = f"{table_prefix(table_name)}{HIDDEN}"
    document = json.dumps({"hidden": list(keys), "put": uuid.uuid4().hex}).encode()
    try:
        return storage.put(key, document, if_absent=etag is None, if_match=etag)
    except PreconditionFailed as exc:
        found, found_etag = storage.get_with_etag(key) if storage.head(key) else (b"", "")
        if found == document:  # our own write arrived, its answer was lost
            return found_etag
        raise PreconditionFailed(
            f"another put into the table {table_name} went on at the same time and may have removed files of this one; "
            "put the files again"
        ) from exc


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
            names.add_declared(schema, str(path))
        num_rows = write_file(
            target, _checked(table, batches, path, ids, names, on_progress), schema
        )
    if num_rows == 0:
        raise InputError(f"{path}: the table {table.name} is empty; expected at least one row")
    return _Staged(key, target, num_rows)


def _checked(
    table: InputTable,
    batches: Batches,
    path: Path,
    ids: IdRegister | None,
    names: LabelNames | None,
    on_progress: Progress | None,
) -> Batches:
    file_name, num_rows = str(path), 0  # folders may hold files of the same name
    for batch in batches:
        check_rows(table, batch, file_name, num_rows)
        if ids is not None and table.id_column is not None:
            ids.add(batch.column(table.id_column), file_name)
        if names is not None:
            names.add_rows(batch, file_name, num_rows)
        num_rows += batch.num_rows
        if on_progress is not None:
            on_progress(path.name, num_rows)
        yield batch


def _register_stored(
    storage: Storage, table: InputTable, given: Container[str], ids: IdRegister
) -> None:
    """Takes the ids of the table's files, but for those whose keys are given anew."""
    assert table.id_column is not None
    for key in [
        info.key for info in list_input_files(storage, table.name) if info.key not in given
    ]:
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
