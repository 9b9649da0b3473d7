"""Parquet files on a store or on this machine's disk: footers, row groups, bounded batches,
reproducible bytes.

Knows nothing about what the tables mean.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from infra.errors import InputError, StorageError
from infra.storage.base import Storage

ARROW_SCHEMA_KEY = "ARROW:schema"
READ_OPTIONS = {"page_checksum_verification": True, "buffer_size": 2**20}
WRITE_OPTIONS = {"compression": "zstd", "write_page_checksum": True}
MAX_GROUP_ROWS = 2**16
MAX_GROUP_BYTES = 32 * 2**20
MAX_BATCH_ROWS = 4096
MAX_BATCH_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class RowGroup:
    """`size_bytes` is what the group takes in memory, uncompressed and encoded."""

    num_rows: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Footer:
    """What a file says about itself; `metadata` are the writer's own key-value pairs."""

    num_rows: int
    row_groups: tuple[RowGroup, ...]
    schema: pa.Schema
    metadata: Mapping[str, str]
    earliest: Mapping[str, datetime]
    """The smallest value (UTC) of each timestamp column whose statistics are complete and which has
    no nulls. One that is no datetime is left out, as is a name that several columns have."""


@contextmanager
def open_parquet(storage: Storage, key: str) -> Iterator[pq.ParquetFile]:
    """A file of the store, its footer read; raises ObjectNotFound, InputError if it is not Parquet
    or damaged."""
    with (
        _plain_errors(key),
        closing(storage.open(key)) as source,
        pq.ParquetFile(source, **READ_OPTIONS) as file,
    ):
        yield file


@contextmanager
def open_local_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """A file on this machine; raises InputError if it is missing, not Parquet or damaged."""
    if not path.is_file():
        raise InputError(f"{path} is not a file")
    with _plain_errors(str(path)), pq.ParquetFile(path, **READ_OPTIONS) as file:
        yield file


def footer_of(file: pq.ParquetFile) -> Footer:
    """The footer of an open file; reads nothing more."""
    stored = file.metadata.metadata or {}
    pairs = {
        key.decode(errors="replace"): value.decode(errors="replace")
        for key, value in stored.items()
    }
    return Footer(
        num_rows=file.metadata.num_rows,
        row_groups=tuple(
            RowGroup(group.num_rows, group.total_byte_size) for group in _row_groups_of(file)
        ),
        schema=file.schema_arrow,
        metadata={key: value for key, value in pairs.items() if key != ARROW_SCHEMA_KEY},
        earliest=_earliest(file),
    )


def _earliest(file: pq.ParquetFile) -> dict[str, datetime]:
    names = [field.name for field in file.schema_arrow if pa.types.is_timestamp(field.type)]
    paths = [file.schema.column(index).path for index in range(len(file.schema))] if names else []
    groups = [group for group in _row_groups_of(file) if group.num_rows]
    lowest = {
        name: _lowest([group.column(paths.index(name)).statistics for group in groups])
        for name in names
        if paths.count(name) == 1
    }
    return {name: value for name, value in lowest.items() if value is not None}


def _lowest(statistics: Sequence[pq.Statistics | None]) -> datetime | None:
    if not statistics or not all(
        one and one.has_min_max and one.null_count == 0 for one in statistics
    ):
        return None
    try:
        lowest = min(one.min for one in statistics if one)
        return lowest.astimezone(UTC) if lowest.tzinfo else lowest.replace(tzinfo=UTC)
    # no datetime: after the year 9999, or nanoseconds where pandas is missing
    except (
        OverflowError,
        ValueError,
    ):
        return None


def _row_groups_of(file: pq.ParquetFile) -> Iterator[pq.RowGroupMetaData]:
    return (file.metadata.row_group(index) for index in range(file.metadata.num_row_groups))


def read_footer(storage: Storage, key: str) -> Footer:
    """The footer of a file on the store; the rows stay there."""
    with open_parquet(storage, key) as file:
        return footer_of(file)


def read_metadata(storage: Storage, key: str) -> Mapping[str, str]:
    """The key-value pairs that `encode` or another writer put into the footer."""
    return read_footer(storage, key).metadata


def read_rows(
    storage: Storage,
    key: str,
    *,
    columns: Sequence[str] | None = None,
    row_groups: Sequence[int] | None = None,
) -> pa.Table:
    """The given columns of the given row groups, in the file's order; all of them where None."""
    with open_parquet(storage, key) as file:
        groups = range(file.metadata.num_row_groups) if row_groups is None else row_groups
        return file.read_row_groups(list(groups), columns=columns, use_threads=False)


def iter_batches(
    file: pq.ParquetFile, *, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of an open file a batch at a time, bounded in rows and in bytes, whatever its row
    groups are.

    The bytes are those of a group's average row as it is encoded: a long value that is in a
    dictionary counts once.
    """
    for index, group in enumerate(_row_groups_of(file)):
        row_bytes = group.total_byte_size / max(1, group.num_rows)
        batch_rows = max(1, min(MAX_BATCH_ROWS, int(MAX_BATCH_BYTES / max(1.0, row_bytes))))
        yield from file.iter_batches(
            batch_rows, row_groups=[index], columns=columns, use_threads=False
        )


def encode(table: pa.Table, schema: pa.Schema, metadata: Mapping[str, str]) -> bytes:
    """The table as a Parquet file with exactly `schema`; the same rows and metadata give the same
    bytes.

    However the table is chunked or sliced. Raises InputError where the table does not fit the
    schema.
    """
    fitted = (
        fit(table, schema)
        .combine_chunks()
        .replace_schema_metadata(_footer_metadata(schema, metadata))
    )
    sink = pa.BufferOutputStream()
    try:
        pq.write_table(fitted, sink, **WRITE_OPTIONS, row_group_size=MAX_GROUP_ROWS)
    except pa.ArrowInvalid as exc:
        raise InputError(f"the table does not fit its schema: {exc}") from exc
    return sink.getvalue().to_pybytes()


def write_file(
    path: Path,
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    metadata: Callable[[], Mapping[str, str]] = dict,
) -> int:
    """Writes a stream of batches with row groups bounded in rows and bytes; returns the number of
    rows.

    `metadata` are asked for after the last batch and go into the footer. Raises StorageError where
    the disk is full or the folder cannot be written.
    """
    num_rows = 0
    with _disk_errors(path):
        writer = pq.ParquetWriter(path, schema, **WRITE_OPTIONS)
    try:
        for group in _row_groups(batches):
            with _disk_errors(path):
                writer.write_table(fit(group, schema), row_group_size=MAX_GROUP_ROWS)
            num_rows += group.num_rows
        writer.add_key_value_metadata(metadata())
    finally:
        with _disk_errors(path):
            writer.close()
    return num_rows


def fit(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table's columns in the order and with the types of `schema`; raises InputError naming the
    column."""
    missing, foreign = (
        set(schema.names) - set(table.column_names),
        set(table.column_names) - set(schema.names),
    )
    if missing or foreign:
        raise InputError(
            f"columns do not fit the schema: missing {sorted(missing)}, not expected {sorted(foreign)}"
        )
    if twice := sorted({name for name in table.column_names if table.column_names.count(name) > 1}):
        raise InputError(f"columns do not fit the schema: several are named {' or '.join(twice)}")
    columns = []
    for field in schema:
        found = table.column(field.name)
        try:
            columns.append(found.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as exc:
            raise InputError(
                f"column {field.name}: found {found.type}, expected {field.type} ({exc})"
            ) from exc
        if not field.nullable and found.null_count:
            raise InputError(f"column {field.name}: {found.null_count} nulls where none may be")
    return pa.Table.from_arrays(columns, schema=schema)


def _row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    num_rows = size_bytes = 0
    for batch in batches:
        if waiting and (
            num_rows + batch.num_rows > MAX_GROUP_ROWS
            or size_bytes + batch.nbytes > MAX_GROUP_BYTES
        ):
            yield pa.Table.from_batches(waiting)
            waiting, num_rows, size_bytes = [], 0, 0
        waiting.append(batch)
        num_rows += batch.num_rows
        size_bytes += batch.nbytes
    if waiting:
        yield pa.Table.from_batches(waiting)


def _footer_metadata(schema: pa.Schema, metadata: Mapping[str, str]) -> dict[bytes, bytes]:
    own = {key.encode(): value.encode() for key, value in sorted(metadata.items())}
    return dict(schema.metadata or {}) | own


@contextmanager
def _plain_errors(name: str) -> Iterator[None]:
    try:
        yield
    except pa.ArrowException as exc:
        raise InputError(
            f"{name} is not a Parquet file, or is damaged: {_first_line(exc)}"
        ) from exc
    except OSError as exc:
        if exc.errno is not None:
            raise StorageError(f"{name} cannot be read: {_first_line(exc)}") from exc
        raise InputError(
            f"{name} is a damaged or truncated Parquet file: {_first_line(exc)}"
        ) from exc


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise StorageError(f"{path} cannot be written: {_first_line(exc)}") from exc


def _first_line(exc: Exception) -> str:
    return str(exc).partition("\n")[0]
