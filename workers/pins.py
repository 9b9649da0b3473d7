"""What a plan pins: input objects, snapshots of tables, orders, a version of a model; and the days
they belong to."""

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
    """The input objects as they were when planned, and the time from which on their rows count as
    the future."""

    table: str
    cut: str
    """ISO time, UTC: rows with an event time at or after it are left out."""
    objects: tuple[InputObject, ...]

    @property
    def num_rows(self) -> int:
        return sum(item.num_rows for item in self.objects)


@dataclass(frozen=True, slots=True)
class Order:
    """So many rows of one class, to be generated from nothing but that."""

    label: int
    label_name: str
    num_rows: int


@dataclass(frozen=True, slots=True)
class ModelPin:
    name: str
    version: str
    weights_sha256: str
    through: str
    """The date through which its training data goes."""


def digest(value: Any) -> str:
    """SHA-256 of the value's canonical JSON."""
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


def end_of_day(day: date) -> datetime:
    """The first moment (UTC) that no longer belongs to `day`."""
    return datetime.combine(day + timedelta(days=1), time(), UTC)


def parse_date(text: str) -> date:
    """YYYY-MM-DD as a date; an empty text is yesterday (UTC), the last day that is complete."""
    if not text:
        return datetime.now(UTC).date() - timedelta(days=1)
    try:
        return date.fromisoformat(text)
    except ValueError as exc:
        raise InputError(
            f"{text!r} is not a date; expected YYYY-MM-DD, such as 2026-11-22"
        ) from exc
