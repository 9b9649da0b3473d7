"""Checks what a row of an input table holds.

Every error names file, row, column, what was found and what was expected. Rows count from 1 in file
order; the header of a CSV file is not a row.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.errors import InputError
from workers.inputs.pictures import PictureError, open_picture
from workers.inputs.tables import (
    MAX_ID_CHARS,
    MAX_KEY_CHARS,
    MAX_TEXT_CHARS,
    MAX_VALUE_CHARS,
    Column,
    InputTable,
)

BIDI_OVERRIDES = r"\x{202a}-\x{202e}\x{2066}-\x{2069}"
"""They make text look different from what it is; right-to-left scripts do not need them."""
NOT_IN_A_LINE = rf"[\x00-\x1f\x7f-\x{{9f}}{BIDI_OVERRIDES}]"
NOT_IN_A_TEXT = rf"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x{{9f}}{BIDI_OVERRIDES}]"
SHOWN_CHARS = 60


@dataclass(frozen=True, slots=True)
class Place:
    """Consecutive values of a column, as many as a batch has: for naming them in errors."""

    file_name: str
    column: str
    rows_before: int

    def refuse(self, index: int, found: str, expected: str) -> InputError:
        """The error for the value at `index`."""
        row = self.rows_before + index + 1
        return InputError(
            f"{self.file_name}, row {row}, column {self.column}: found {found}; expected {expected}"
        )


def check_rows(
    table: InputTable, rows: pa.RecordBatch, file_name: str, rows_before: int = 0
) -> None:
    """Raises InputError for the first bad value of the first bad column.

    `rows` must be canonical, as `tables.canonical_table` returns them.
    """
    for column in table.columns:
        index = rows.schema.get_field_index(column.name)
        if index >= 0:
            _check_column(column, rows.column(index), Place(file_name, column.name, rows_before))


def _check_column(column: Column, values: pa.Array, place: Place) -> None:
    _check_encoding(values, place)
    if column.required:
        _refuse_first(place, values.is_null(), "null", f"{column.type}")
    match column.content:
        case "id":
            _check_line(values, place, MAX_ID_CHARS, may_be_empty=not column.required)
        case "name":
            _check_line(values, place, MAX_VALUE_CHARS, may_be_empty=True)
        case "text":
            _check_text(values, place, may_be_empty=not column.required)
        case "facts" | "act":
            _check_attributes(values, place, is_act=column.content == "act")
        case "image":
            _check_images(values, place)
        case "label":
            _refuse_first(place, pc.less(values, 0), "a negative number", "0 or more")


def _check_encoding(values: pa.Array, place: Place) -> None:
    try:
        values.validate(full=True)
    except pa.ArrowInvalid as exc:
        for index in range(len(values)):
            try:
                values[index].as_py()
            except UnicodeDecodeError:
                raise place.refuse(index, "bytes that are not UTF-8", "text in UTF-8") from exc
        raise InputError(f"{place.file_name}, column {place.column}: damaged ({exc})") from exc


def _check_line(values: pa.Array, place: Place, max_chars: int, *, may_be_empty: bool) -> None:
    if not may_be_empty:
        _refuse_first(place, _is_blank(values), "an empty text", "some text")
    _check_length(values, place, max_chars)
    mask = _matches(values, NOT_IN_A_LINE)
    _refuse_first(place, mask, "a control character", "one line of plain text", values)


def _check_text(values: pa.Array, place: Place, *, may_be_empty: bool) -> None:
    if not may_be_empty:
        _refuse_first(place, _is_blank(values), "an empty text", "some text")
    _check_length(values, place, MAX_TEXT_CHARS)
    mask = _matches(values, NOT_IN_A_TEXT)
    _refuse_first(place, mask, "a control character", "plain text", values)


def _check_length(values: pa.Array, place: Place, max_chars: int) -> None:
    lengths = pc.utf8_length(values)
    index = _first(pc.greater(lengths, max_chars))
    if index >= 0:
        found = f"a text of {lengths[index].as_py():,} characters"
        raise place.refuse(index, found, f"at most {max_chars:,}")


def _check_attributes(values: pa.Array, place: Place, *, is_act: bool) -> None:
    pairs = pc.list_flatten(values)
    if len(pairs) == 0:
        return
    rows = pc.list_parent_indices(values).to_numpy()
    keys, attribute_values = pairs.field("key"), pairs.field("value")
    for problem in _attribute_problems(keys, attribute_values, is_act):
        index = _first(problem.mask)
        if index >= 0:
            found = f"{problem.found}{_show(problem.shown[index])}"
            raise place.refuse(int(rows[index]), found, problem.expected)
    if not is_act:
        _check_repeats(keys, rows, place)


@dataclass(frozen=True, slots=True)
class _Problem:
    """A kind of bad attribute, and which attributes have it."""

    mask: pa.Array
    found: str
    expected: str
    shown: pa.Array
    """Of each attribute, the value to append to `found`."""


def _attribute_problems(keys: pa.Array, values: pa.Array, is_act: bool) -> Iterator[_Problem]:
    """The kinds of problem that a single attribute may have, in the order of their checks."""
    a_line, a_value = "one line of plain text", "a value (leave out an attribute that is not known)"
    has_no_key = pc.or_(keys.is_null(), pc.fill_null(_is_blank(keys), False))
    yield _Problem(has_no_key, "an attribute without a key, value", "a key", values)
    is_long = pc.greater(pc.utf8_length(keys), MAX_KEY_CHARS)
    yield _Problem(is_long, "a key that is too long,", f"at most {MAX_KEY_CHARS}", keys)
    is_odd = _matches(keys, NOT_IN_A_LINE)
    yield _Problem(is_odd, "a control character in the key", a_line, keys)
    if not is_act:
        yield _Problem(values.is_null(), "null for key", a_value, keys)
    yield _Problem(_is_blank(values), "an empty value for key", a_value, keys)
    is_long = pc.greater(pc.utf8_length(values), MAX_VALUE_CHARS)
    most = f"at most {MAX_VALUE_CHARS:,} characters"
    yield _Problem(is_long, "a value that is too long for key", most, keys)
    is_odd = _matches(values, NOT_IN_A_LINE)
    yield _Problem(is_odd, "a control character in the value of key", a_line, keys)


def _check_repeats(keys: pa.Array, rows: np.ndarray, place: Place) -> None:
    codes = keys.dictionary_encode()
    # one number for each combination of row and key
    pairs = rows.astype(np.int64) * len(codes.dictionary) + codes.indices.to_numpy()
    _, first = np.unique(pairs, return_index=True)
    if len(first) == len(pairs):
        return
    repeated = np.setdiff1d(np.arange(len(pairs)), first)[0]
    raise place.refuse(int(rows[repeated]), f"key{_show(keys[repeated])} twice", "each key once")


def _check_images(values: pa.Array, place: Place) -> None:
    for index, content in enumerate(values.field("bytes")):
        try:
            open_picture(content.as_py())
        except PictureError as exc:
            raise place.refuse(index, exc.found, exc.expected) from exc


def _refuse_first(
    place: Place, mask: pa.Array, found: str, expected: str, shown: pa.Array | None = None
) -> None:
    index = _first(mask)
    if index >= 0:
        excerpt = "" if shown is None else f" in{_show(shown[index])}"
        raise place.refuse(index, f"{found}{excerpt}", expected)


def _first(mask: pa.Array) -> int:
    """The index of the first true value, or -1."""
    return pc.index(mask, True).as_py()


def _is_blank(values: pa.Array) -> pa.Array:
    return pc.equal(pc.utf8_trim_whitespace(values), "")


def _matches(values: pa.Array, pattern: str) -> pa.Array:
    return pc.match_substring_regex(values, pattern)


def _show(value: pa.Scalar) -> str:
    text = ascii(value.as_py())
    return f" {text[:SHOWN_CHARS]}…" if len(text) > SHOWN_CHARS else f" {text}"


class IdRegister:
    """Finds repeated ids among millions of rows, with eight bytes per row.

    Compares 64-bit hashes: for a million rows, the chance of a false alarm is below one in ten
    million.
    """

    def __init__(self, column: str) -> None:
        self.column = column
        self._hashes: list[np.ndarray] = []
        self._files: list[str] = []

    def add(self, ids: pa.Array | pa.ChunkedArray, file_name: str) -> None:
        """Adds the next ids of a file in row order; finish one file before starting the next."""
        digests = b"".join(
            hashlib.blake2b(str(value).encode(), digest_size=8).digest()
            for value in ids.to_pylist()
        )
        self._hashes.append(np.frombuffer(digests, dtype=np.uint64))
        self._files.append(file_name)

    def check(self) -> None:
        """Raises InputError naming both rows of the first repeated id."""
        hashes = np.concatenate(self._hashes) if self._hashes else np.empty(0, np.uint64)
        order = np.argsort(hashes, kind="stable")
        repeats = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
        if len(repeats) == 0:
            return
        repeat = repeats[np.argmin(order[repeats + 1])]
        first_file, first_row = self._locate(order[repeat])
        file_name, row = self._locate(order[repeat + 1])
        raise InputError(
            f"{file_name}, row {row}, column {self.column}: the same id is in {first_file}, "
            f"row {first_row}; expected each id once"
        )

    def _locate(self, index: int) -> tuple[str, int]:
        """The file and the row of the id at `index`, counted over all files."""
        row = int(index)
        rows_before: Counter[str] = Counter()
        for file_name, hashes in zip(self._files, self._hashes, strict=True):
            if row < len(hashes):
                return file_name, rows_before[file_name] + row + 1
            row -= len(hashes)
            rows_before[file_name] += len(hashes)
        raise IndexError(index)
