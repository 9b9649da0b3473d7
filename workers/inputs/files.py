"""Reads a user's Parquet, CSV or JSON Lines file as a stream of canonical batches. Guesses nothing.

- CSV: UTF-8 with commas and a header; an empty cell is null. Attributes are a JSON column
  `attributes`, or columns `attributes.KEY` in which an empty cell omits the attribute.
- JSON Lines: attributes are an object, or a list of objects with `key` and `value`. Numbers and
  booleans in them keep their JSON spelling.
- Columns that the table does not declare are kept as text; a value that is not text keeps its JSON.
  Undeclared Parquet columns of the same name are numbered.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.types as pat

from infra.errors import InputError
from infra.storage.parquet import iter_batches, open_local_parquet
from workers.inputs.rows import Place
from workers.inputs.tables import (
    Column,
    InputTable,
    canonical_schema,
    canonical_table,
    check_schema,
)

BATCH_ROWS = 4096
ATTRIBUTE_PREFIX = "attributes."
NO_JSON_NUMBERS = frozenset({"NaN", "Infinity", "-Infinity"})
"""Python's spellings of numbers that JSON lacks; its `json` module writes and reads them."""

Row = Mapping[str, Any]
Batches = Iterator[pa.RecordBatch]


@dataclass(frozen=True, slots=True)
class _Number:
    """A JSON number in its original spelling; a float would lose digits and trailing zeros."""

    text: str

    def __repr__(self) -> str:
        return self.text


@contextmanager
def open_input(table: InputTable, path: Path) -> Iterator[tuple[pa.Schema, Batches]]:
    """Opens a local file: its canonical schema and its batches, whose rows are not checked yet.

    Raises InputError, possibly only while the batches are read, if the content does not match the
    file's suffix.
    """
    readers = {
        ".parquet": _open_parquet,
        ".csv": _open_csv,
        ".jsonl": _open_json_lines,
        ".ndjson": _open_json_lines,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: files end in {', '.join(readers)}")
    try:
        with reader(table, path) as opened:
            yield opened
    except UnicodeDecodeError as exc:
        raise InputError(f"{path} is not in UTF-8: {exc}") from exc


@contextmanager
def _open_parquet(table: InputTable, path: Path) -> Iterator[tuple[pa.Schema, Batches]]:
    with open_local_parquet(path) as file:
        check_schema(table, file.schema_arrow, str(path))
        names = _number_repeats(file.schema_arrow.names)

        def batches() -> Batches:
            for batch in iter_batches(file):
                rows = pa.Table.from_batches([batch]).rename_columns(names)
                yield from canonical_table(table, rows, str(path)).to_batches()

        schema = canonical_schema(table, file.schema_arrow)
        fields = [field.with_name(name) for field, name in zip(schema, names, strict=True)]
        yield pa.schema(fields, metadata=schema.metadata), batches()


def _number_repeats(names: list[str]) -> list[str]:
    """The names, with a number appended to each repetition; Parquet allows repetitions."""
    distinct: list[str] = []
    for name in names:
        numbered = (f"{name}_{number}" for number in count(2))
        free = (candidate for candidate in numbered if candidate not in names + distinct)
        distinct.append(next(free) if name in distinct else name)
    return distinct


@contextmanager
def _open_csv(table: InputTable, path: Path) -> Iterator[tuple[pa.Schema, Batches]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, strict=True)
        try:
            header = next(lines, [])
        except csv.Error as exc:
            raise InputError(f"{path}, header: {exc}") from exc
        names = [name for name in header if not name.startswith(ATTRIBUTE_PREFIX)]
        has_attributes = len(names) < len(header)
        if len(set(header)) < len(header) or (has_attributes and "attributes" in names):
            raise InputError(f"{path}: the header names a column twice: {', '.join(header)}")
        if has_attributes:
            names.append("attributes")
        schema = _schema(table, names, str(path))
        yield schema, _to_batches(table, schema, _csv_rows(lines, header, str(path)), str(path))


def _csv_rows(lines: Iterator[list[str]], header: list[str], file_name: str) -> Iterator[Row]:
    for row in count(1):
        try:
            cells = next(lines, None)
        except csv.Error as exc:
            raise InputError(f"{file_name}, row {row}: {exc}") from exc
        if cells is None:
            return
        if len(cells) != len(header):
            problem = _describe_cell_count(cells, header)
            raise InputError(f"{file_name}, row {row}: {problem}")
        yield _csv_row(dict(zip(header, cells, strict=True)))


def _describe_cell_count(cells: list[str], header: list[str]) -> str:
    """What is wrong with a line that has more or fewer cells than the header."""
    problem = f"found {len(cells)} cells; expected {len(header)}"
    if len(cells) < len(header):
        return f"{problem}, there is none for column {header[len(cells)]}"
    extra = cells[len(header)]
    return f"{problem}, {extra!r} follows column {header[-1]} (values with commas need quotes)"


def _csv_row(cells: dict[str, str]) -> Row:
    row: dict[str, Any] = {}
    attributes: dict[str, str] = {}
    for name, value in cells.items():
        if not name.startswith(ATTRIBUTE_PREFIX):
            row[name] = value or None
        elif value:
            attributes[name.removeprefix(ATTRIBUTE_PREFIX)] = value
    row.setdefault("attributes", attributes)
    return row


@contextmanager
def _open_json_lines(table: InputTable, path: Path) -> Iterator[tuple[pa.Schema, Batches]]:
    names: dict[str, None] = {}
    for row in _json_rows(path):
        names |= dict.fromkeys(row)
    schema = _schema(table, list(names), str(path))
    yield schema, _to_batches(table, schema, _json_rows(path), str(path))


def _json_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        for row, line in enumerate(file, 1):
            if not line.strip():
                raise InputError(f"{path}, row {row}: found an empty line; expected a JSON object")
            try:
                value = _parse_json(line)
            except (ValueError, RecursionError) as exc:
                raise InputError(f"{path}, row {row}: not JSON: {exc}") from exc
            if not isinstance(value, dict):
                raise InputError(f"{path}, row {row}: found {_kind(value)}; expected a JSON object")
            yield value


def _parse_json(text: str) -> Any:
    """Raises ValueError, or RecursionError; numbers become `_Number`."""
    return json.loads(
        text,
        object_pairs_hook=_unique_keys,
        parse_float=_Number,
        parse_int=_Number,
        parse_constant=_Number,
    )


def _schema(table: InputTable, names: list[str], file_name: str) -> pa.Schema:
    """A schema with the declared columns in their types and all others as text."""
    declared = {column.name: column.type for column in table.columns}
    schema = pa.schema([(name, declared.get(name, pa.string())) for name in names])
    check_schema(table, schema, file_name)
    if any(pat.is_binary(field.type) or pat.is_struct(field.type) for field in schema):
        raise InputError(
            f"{file_name}: the table {table.name} holds bytes; expected a Parquet file"
        )
    return schema


def _to_batches(
    table: InputTable, schema: pa.Schema, rows: Iterable[Row], file_name: str
) -> Batches:
    iterator = iter(rows)
    rows_before = 0
    while chunk := list(islice(iterator, BATCH_ROWS)):
        columns = [
            _to_array(table.column(field.name), field, chunk, file_name, rows_before)
            for field in schema
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)
        rows_before += len(chunk)


def _to_array(
    column: Column | None, field: pa.Field, rows: list[Row], file_name: str, rows_before: int
) -> pa.Array:
    parse = _as_text if column is None else _parser(field.type)
    values = []
    for index, row in enumerate(rows):
        value = row.get(field.name)
        try:
            values.append(None if value is None else parse(value))
        except (ValueError, RecursionError) as exc:
            place = Place(file_name, field.name, rows_before)
            raise place.refuse(index, _excerpt(value), f"{field.type} ({exc})") from exc
    return pa.array(values, field.type)


def _parser(type_: pa.DataType) -> Callable[[Any], Any]:
    if pat.is_list(type_):
        return _attributes
    return _time if pat.is_timestamp(type_) else _text


def _attributes(value: Any) -> list[dict[str, str | None]]:
    """Key-value pairs from JSON: an object, or a list of objects with `key` and `value`."""
    pairs = _parse_json(value) if isinstance(value, str) else value
    if isinstance(pairs, dict):
        pairs = [{"key": key, "value": item} for key, item in pairs.items()]
    if not isinstance(pairs, list) or not all(_is_pair(pair) for pair in pairs):
        raise ValueError("neither an object nor a list of objects with key and value")
    return [{"key": _text(pair["key"]), "value": _attribute_value(pair["value"])} for pair in pairs]


def _is_pair(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"key", "value"}


def _attribute_value(value: Any) -> str | None:
    if isinstance(value, dict | list):
        raise ValueError(f"a value is {_kind(value)}")
    return None if value is None else _as_text(value)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object as a dict; raises ValueError for a repeated key, of which JSON keeps the last."""
    keys = [key for key, _ in pairs]
    repeated = next((key for key in keys if keys.count(key) > 1), None)
    if repeated is not None:
        raise ValueError(f"key {repeated!a} occurs twice")
    return dict(pairs)


def _time(value: Any) -> datetime:
    """ISO 8601; a time without a zone is UTC."""
    time = datetime.fromisoformat(_text(value))
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"it is {_kind(value)}")
    value.encode()  # raises for half of a surrogate pair, which JSON can spell but UTF-8 cannot
    return value


def _as_text(value: Any) -> str:
    """Text unchanged, everything else as JSON."""
    return _text(value) if isinstance(value, str) else _write_json(value)


def _write_json(value: Any) -> str:
    if isinstance(value, _Number):
        if value.text in NO_JSON_NUMBERS:
            raise ValueError(f"JSON has no number {value}")
        return value.text
    if isinstance(value, dict):
        items = [f"{json.dumps(key)}: {_write_json(item)}" for key, item in value.items()]
        return f"{{{', '.join(items)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_write_json, value))}]"
    return json.dumps(value)


def _kind(value: Any) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "text",
        bool: "true or false",
        type(None): "null",
    }
    return names.get(type(value), "a number")


def _excerpt(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
