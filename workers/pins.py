"""What a plan pins: input objects, table snapshots, orders and model versions; and its dates."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from infra.errors import InputError


@dataclass(frozen=True, slots=True)
class InputObject:
    key: str
    etag: str
    size_bytes: int
    row_groups: tuple[int, ...]
    """Number of rows of each row group."""

    @property
    def num_rows(self) -> int:
        return sum(self.row_groups)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A table's input objects at planning time, and the cut between past and future rows."""

    table: str
    cut: str
    """ISO time, UTC: rows with an event time at or after it are left out."""
    objects: tuple[InputObject, ...]

    @property
    def num_rows(self) -> int:
        return sum(item.num_rows for item in self.objects)


@dataclass(frozen=True, slots=True)
class Order:
    """A number of rows of one class to generate without input rows."""

    label: int
    label_name: str
    num_rows: int


@dataclass(frozen=True, slots=True)
class ModelPin:
    name: str
    version: str
    weights_sha256: str
    through: str
    """The last date of its training data."""


def digest(value: Any) -> str:
    """SHA-256 of the value's canonical JSON."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def end_of_day(day: date) -> datetime:
    """Midnight (UTC) at the end of `day`; no longer part of it."""
    return datetime.combine(day + timedelta(days=1), time(), UTC)


def parse_date(text: str) -> date:
    """YYYY-MM-DD as a date; an empty text is yesterday (UTC), the last complete day."""
    if not text:
        return datetime.now(UTC).date() - timedelta(days=1)
    try:
        return date.fromisoformat(text)
    except ValueError as exc:
        expected = "YYYY-MM-DD, such as 2026-11-22"
        raise InputError(f"{text!r} is not a date; expected {expected}") from exc
