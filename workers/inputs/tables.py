"""The input tables: their columns, the types accepted for them, and their ids.

Knows nothing about where files come from. `workers.inputs.rows` checks single rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.types as pat

from infra.errors import InputError

ATTRIBUTE = pa.struct([pa.field("key", pa.string()), pa.field("value", pa.string())])
ATTRIBUTES = pa.list_(ATTRIBUTE)
IMAGE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
HUGGING_FACE_IMAGE = {"huggingface": '{"info": {"features": {"image": {"_type": "Image"}}}}'}
"""Schema metadata that make `datasets` and Ray Data read the column `image` as pictures."""
TIMESTAMP = pa.timestamp("us", tz="UTC")

MAX_KEY_CHARS = 128
MAX_VALUE_CHARS = 2_000
MAX_ID_CHARS = 256
MAX_TEXT_CHARS = 20_000

Content = Literal["id", "name", "text", "facts", "act", "image", "label", "time"]
"""`id` and `name` are one line; `text` may have several. `facts` have each key once and a value for
each; an `act` may repeat keys, and asks for a value that is null. A `label` is not negative."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    name: str
    type: pa.DataType
    content: Content
    required: bool = True
    """An optional column may be missing or hold nulls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputTable:
    name: str
    columns: tuple[Column, ...]
    id_column: str | None = None
    """The column that identifies a row; its values are unique in the table."""

    def column(self, name: str) -> Column | None:
        """The declared column of that name."""
        return next((column for column in self.columns if column.name == name), None)


_ACCEPTED_KINDS = (
    (pat.is_string, (pat.is_large_string, pat.is_string_view)),
    (pat.is_binary, (pat.is_large_binary, pat.is_binary_view)),
    (pat.is_integer, (pat.is_integer,)),
    (pat.is_timestamp, (pat.is_timestamp,)),
)
"""(kind of the expected type, other kinds accepted for it)."""


def _table(name: str, *columns: Column, id_column: str | None = None) -> InputTable:
    return InputTable(name=name, columns=columns, id_column=id_column)


def _column(
    name: str, content: Content, type_: pa.DataType | None = None, *, required: bool = True
) -> Column:
    return Column(name=name, content=content, type=type_ or pa.string(), required=required)


CATALOG = _table(
    "catalog",
    _column("product_id", "id"),
    _column("title", "name", required=False),
    _column("category", "name", required=False),
    _column("attributes", "facts", ATTRIBUTES),
    _column("description", "text", required=False),
    _column("updated_at", "time", TIMESTAMP, required=False),
    id_column="product_id",
)
COPY_EXAMPLES = _table(
    "copy_examples",
    _column("intent", "id"),
    _column("attributes", "act", ATTRIBUTES),
    _column("reference", "text"),
    _column("product_id", "id", required=False),
)
COPY_REQUESTS = _table(
    "copy_requests",
    _column("request_id", "id"),
    _column("intent", "id"),
    _column("attributes", "act", ATTRIBUTES),
    _column("product_id", "id", required=False),
    id_column="request_id",
)
IMAGES = _table(
    "images",
    _column("image", "image", IMAGE),
    _column("label", "label", pa.int64()),
    _column("label_name", "id"),
)
INTERACTIONS = _table(
    "interactions",
    _column("user_id", "id"),
    _column("item_id", "id"),
    _column("event_time", "time", TIMESTAMP),
    _column("event_type", "id"),
)
INPUT_TABLES: Mapping[str, InputTable] = {
    table.name: table for table in (CATALOG, COPY_EXAMPLES, COPY_REQUESTS, IMAGES, INTERACTIONS)
}


def input_table(name: str) -> InputTable:
    """The declared table of that name; raises InputError listing all names."""
    if name not in INPUT_TABLES:
        raise InputError(
            f"{name!r} is not an input table: the tables are {', '.join(INPUT_TABLES)}"
        )
    return INPUT_TABLES[name]


def check_schema(table: InputTable, schema: pa.Schema, file_name: str) -> None:
    """Raises InputError if a declared column is missing, repeated or of an unacceptable type."""
    for column in table.columns:
        name, expected = column.name, column.type
        count = schema.names.count(name)
        if count > 1:
            raise InputError(f"{file_name}, column {name}: found {count} times, expected once")
        if count == 0 and column.required:
            found = ", ".join(schema.names) or "none"
            raise InputError(
                f"{file_name}: column {name} ({expected}) is missing; found columns: {found}"
            )
        if count == 1 and not _is_accepted(schema.field(name).type, expected):
            found = schema.field(name).type
            raise InputError(f"{file_name}, column {name}: found type {found}, expected {expected}")


def canonical_schema(table: InputTable, schema: pa.Schema) -> pa.Schema:
    """The schema with every declared column in its declared type; the rest is unchanged."""
    fields = []
    for field in schema:
        column = table.column(field.name)
        fields.append(field if column is None else pa.field(column.name, column.type))
    return pa.schema(fields, metadata=schema.metadata)


def canonical_table(table: InputTable, rows: pa.Table, file_name: str) -> pa.Table:
    """The rows with every declared column in its declared type; other columns are unchanged."""
    check_schema(table, rows.schema, file_name)
    for column in table.columns:
        index = rows.schema.get_field_index(column.name)
        if index >= 0 and rows.schema.field(index).type != column.type:
            values = _convert_column(rows.column(index), column, file_name)
            rows = rows.set_column(index, column.name, values)
    return rows


def _convert_column(values: pa.ChunkedArray, column: Column, file_name: str) -> pa.ChunkedArray:
    name, type_ = column.name, column.type
    try:
        chunks = [_convert(chunk, type_) for chunk in values.chunks]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as exc:
        raise InputError(f"{file_name}, column {name}: expected {type_}: {exc}") from exc
    return pa.chunked_array(chunks, type=type_)


def _convert(values: pa.Array, type_: pa.DataType) -> pa.Array:
    if pat.is_map(values.type):
        pair = pa.struct([("key", values.type.key_type), ("value", values.type.item_type)])
        values = values.cast(pa.list_(pair))
    if pat.is_struct(type_) and pat.is_struct(values.type):
        parts = [_convert(values.field(field.name), field.type) for field in type_]
        return pa.StructArray.from_arrays(parts, fields=list(type_), mask=values.is_null())
    # An unsafe cast truncates times finer than microseconds; a safe cast raises for overflows.
    return values.cast(type_, safe=not pat.is_timestamp(type_))


def _is_accepted(found: pa.DataType, expected: pa.DataType) -> bool:
    """Whether values of type `found` mean the same in type `expected`."""
    if pat.is_dictionary(found):
        return _is_accepted(found.value_type, expected)
    if pat.is_null(found) or found == expected:
        return True
    if pat.is_list(expected):
        return _is_list_of(found, expected.value_type)
    if pat.is_struct(expected):
        return _is_struct_of(found, expected)
    for is_expected_kind, accepted_kinds in _ACCEPTED_KINDS:
        if is_expected_kind(expected):
            return any(is_kind(found) for is_kind in accepted_kinds)
    return False


def _is_list_of(found: pa.DataType, value_type: pa.DataType) -> bool:
    if pat.is_map(found):
        pair = (found.key_type, found.item_type)
        return all(_is_accepted(type_, pa.string()) for type_ in pair)
    is_list = pat.is_list(found) or pat.is_large_list(found) or pat.is_fixed_size_list(found)
    return is_list and _is_accepted(found.value_type, value_type)


def _is_struct_of(found: pa.DataType, expected: pa.DataType) -> bool:
    if not pat.is_struct(found):
        return False
    types = {field.name: field.type for field in found}
    if set(types) != {field.name for field in expected}:
        return False
    return all(_is_accepted(types[field.name], field.type) for field in expected)
