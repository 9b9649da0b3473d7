"""Parquet files on a store or a local disk: footers, row groups, bounded batches, same bytes.

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
    """`size_bytes` is the encoded, uncompressed size in memory."""

    num_rows: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Footer:
    """A file's description of itself; `metadata` are the writer's own key-value pairs."""

    num_rows: int
    row_groups: tuple[RowGroup, ...]
    schema: pa.Schema
    metadata: Mapping[str, str]
    earliest: Mapping[str, datetime]
    """The smallest value (UTC) of each timestamp column with complete statistics and no nulls.

    Without values that are not a datetime, and without names that several columns share.
    """


@contextmanager
def open_parquet(storage: Storage, key: str) -> Iterator[pq.ParquetFile]:
    """A file of the store with its footer read.

    Raises ObjectNotFound, or InputError if the file is damaged or not Parquet.
    """
    with (
        _converting_errors(key),
        closing(storage.open(key)) as source,
        pq.ParquetFile(source, **READ_OPTIONS) as file,
    ):
        yield file


@contextmanager
def open_local_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """A local file; raises InputError if it is missing, damaged or not Parquet."""
    if not path.is_file():
        raise InputError(f"{path} is not a file")
    with _converting_errors(str(path)), pq.ParquetFile(path, **READ_OPTIONS) as file:
        yield file


def footer_of(file: pq.ParquetFile) -> Footer:
    """The footer of an open file; reads nothing else."""
    metadata = {
        key.decode(errors="replace"): value.decode(errors="replace")
        for key, value in (file.metadata.metadata or {}).items()
    }
    metadata.pop(ARROW_SCHEMA_KEY, None)
    groups = (RowGroup(group.num_rows, group.total_byte_size) for group in _row_groups_of(file))
    return Footer(
        num_rows=file.metadata.num_rows,
        row_groups=tuple(groups),
        schema=file.schema_arrow,
        metadata=metadata,
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
    for group in statistics:
        if group is None or not group.has_min_max or group.null_count != 0:
            return None
    if not statistics:
        return None
    try:
        lowest = min(group.min for group in statistics if group)
        return lowest.astimezone(UTC) if lowest.tzinfo else lowest.replace(tzinfo=UTC)
    except (OverflowError, ValueError):
        # Not a datetime: after the year 9999, or nanoseconds without pandas.
        return None


def _row_groups_of(file: pq.ParquetFile) -> Iterator[pq.RowGroupMetaData]:
    return (file.metadata.row_group(index) for index in range(file.metadata.num_row_groups))


def read_footer(storage: Storage, key: str) -> Footer:
    """The footer of a file on the store; reads no rows."""
    with open_parquet(storage, key) as file:
        return footer_of(file)


def read_metadata(storage: Storage, key: str) -> Mapping[str, str]:
    """The key-value pairs that the writer, such as `encode`, put into the footer."""
    return read_footer(storage, key).metadata


def read_rows(
    storage: Storage,
    key: str,
    *,
    columns: Sequence[str] | None = None,
    row_groups: Sequence[int] | None = None,
) -> pa.Table:
    """The given columns and row groups, in the file's order; None means all."""
    with open_parquet(storage, key) as file:
        groups = range(file.metadata.num_row_groups) if row_groups is None else row_groups
        return file.read_row_groups(list(groups), columns=columns, use_threads=False)


def iter_batches(
    file: pq.ParquetFile, *, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of an open file in batches, bounded in rows and bytes for any size of row groups.

    The bytes of a row are its group's encoded average: a long value in a dictionary counts once.
    """
    for index, group in enumerate(_row_groups_of(file)):
        row_bytes = group.total_byte_size / max(1, group.num_rows)
        batch_rows = max(1, min(MAX_BATCH_ROWS, int(MAX_BATCH_BYTES / max(1.0, row_bytes))))
        yield from file.iter_batches(
            batch_rows, row_groups=[index], columns=columns, use_threads=False
        )


def encode(table: pa.Table, schema: pa.Schema, metadata: Mapping[str, str]) -> bytes:
    """The table as a Parquet file with exactly `schema`.

    The same rows and metadata give the same bytes, however the table is chunked or sliced. Raises
    InputError if the table does not fit the schema.
    """
    footer = _footer_metadata(schema, metadata)
    fitted = fit(table, schema).combine_chunks().replace_schema_metadata(footer)
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
    """Writes batches in row groups bounded in rows and bytes; returns the number of rows.

    `metadata` is called after the last batch; its pairs go into the footer. Raises StorageError if
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
    """The table with the columns, order and types of `schema`; raises InputError that names the
    column."""
    names = table.column_names
    missing = sorted(set(schema.names) - set(names))
    unexpected = sorted(set(names) - set(schema.names))
    if missing or unexpected:
        raise InputError(
            f"columns do not fit the schema: missing {missing}, not expected {unexpected}"
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
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
            raise InputError(f"column {field.name}: found {found.null_count} nulls, expected none")
    return pa.Table.from_arrays(columns, schema=schema)


def _row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    num_rows = size_bytes = 0
    for batch in batches:
        has_too_many_rows = num_rows + batch.num_rows > MAX_GROUP_ROWS
        is_too_large = size_bytes + batch.nbytes > MAX_GROUP_BYTES
        if waiting and (has_too_many_rows or is_too_large):
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
def _converting_errors(name: str) -> Iterator[None]:
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
