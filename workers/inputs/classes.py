"""The classes of a picture table: their names, their sizes, and how many pictures to generate."""

import json
import re
from collections import Counter
from collections.abc import Mapping

import pyarrow as pa

from infra.errors import InputError
from infra.storage import Storage
from infra.storage.parquet import iter_batches, open_parquet
from workers.pins import Order, Snapshot

AMOUNT = re.compile(r"(?P<each>\d+)|(?P<times>\d+(\.\d+)?)x|up-to-(?P<target>\d+)")
MAX_ROWS = 100_000_000
LabelName = tuple[int, str]
_COUNTED: dict[tuple[str, str, str], Mapping[LabelName, int]] = {}
"""By store URI, key and etag. A cache keyed by the store itself would keep its connections open."""


class LabelNames:
    """Checks that labels and names correspond one to one."""

    def __init__(self) -> None:
        self._names: dict[int, tuple[str, str]] = {}
        self._labels: dict[str, int] = {}
        self._num_declared: int | None = None

    def add(self, label: int, name: str, place: str) -> None:
        """Adds a label and its name as found at `place`.

        Raises InputError if they contradict an earlier label or name.
        """
        if self._num_declared is not None and label >= self._num_declared:
            expected = f"0 to {self._num_declared - 1}, the labels in the metadata"
            raise InputError(f"{place}, column label: found {label}; expected {expected}")
        known_name, known_place = self._names.setdefault(label, (name, place))
        if known_name != name:
            expected = f"{known_name!r}, the name of {label} in {known_place}"
            raise InputError(f"{place}, column label_name: found {name!r}; expected {expected}")
        known_label = self._labels.setdefault(name, label)
        if known_label != label:
            _, known_place = self._names[known_label]
            expected = f"{known_label}, the label of {name!r} in {known_place}"
            raise InputError(f"{place}, column label: found {label}; expected {expected}")

    def add_rows(self, rows: pa.RecordBatch, file_name: str, rows_before: int) -> None:
        """Adds the labels of the next rows of a file; each value has been checked before."""
        pairs = zip(rows["label"].to_pylist(), rows["label_name"].to_pylist(), strict=True)
        first_rows: dict[LabelName, int] = {}
        for row, pair in enumerate(pairs, rows_before + 1):
            first_rows.setdefault(pair, row)
        for (label, name), row in first_rows.items():
            self.add(label, name, f"{file_name}, row {row}")

    def add_declared(self, schema: pa.Schema, file_name: str) -> None:
        """Adds the names of a `ClassLabel`, if the file's Hugging Face metadata declare one."""
        names = _declared_names(schema)
        self._num_declared = len(names) or None
        for label, name in enumerate(names):
            self.add(label, name, f"the metadata of {file_name}")


def _declared_names(schema: pa.Schema) -> list[str]:
    """The names in Hugging Face's metadata; empty if there are none or the shape is unknown."""
    try:
        metadata = json.loads((schema.metadata or {})[b"huggingface"])
        names = metadata["info"]["features"]["label"]["names"]
    except (LookupError, TypeError, ValueError, RecursionError):
        return []
    is_valid = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return names if is_valid else []


def count_classes(storage: Storage, snapshot: Snapshot) -> dict[LabelName, int]:
    """Pictures of each class, sorted by label.

    Reads two columns of every file that it has not counted before.
    """
    counts: Counter[LabelName] = Counter()
    names = LabelNames()
    for item in snapshot.objects:
        file_counts = count_file(storage, item.key, item.etag)
        for label, name in file_counts:
            names.add(label, name, item.key)
        counts.update(file_counts)
    return dict(sorted(counts.items()))


def count_file(storage: Storage, key: str, etag: str) -> Mapping[LabelName, int]:
    """Pictures of each class in one file; cached."""
    cache_key = storage.uri, key, etag
    if cache_key not in _COUNTED:
        _COUNTED[cache_key] = _count_rows(storage, key)
    return _COUNTED[cache_key]


def _count_rows(storage: Storage, key: str) -> Mapping[LabelName, int]:
    counts: Counter[LabelName] = Counter()
    with open_parquet(storage, key) as file:
        for batch in iter_batches(file, columns=["label", "label_name"]):
            labels, names = batch["label"].to_pylist(), batch["label_name"].to_pylist()
            counts.update(zip(labels, names, strict=True))
    return counts


def check_amount(amount: str) -> None:
    """Raises ValueError unless `amount` is one of 500, 1.5x, up-to-1000."""
    if not AMOUNT.fullmatch(amount):
        raise ValueError(
            f"amount: found {amount!r}; expected a number of pictures for each class (500), "
            "a multiple of the real pictures (2x), or a total for each class that includes "
            "the real pictures (up-to-1000)"
        )


def order_pictures(storage: Storage, snapshot: Snapshot, amount: str) -> tuple[Order, ...]:
    """An order for each class that needs pictures, sorted by label.

    Raises InputError if no class needs any, or if the total exceeds `MAX_ROWS`.
    """
    orders = [
        Order(label, name, max(0, _num_to_generate(amount, num_real)))
        for (label, name), num_real in count_classes(storage, snapshot).items()
    ]
    total = sum(order.num_rows for order in orders)
    if total == 0:
        raise InputError(
            f"amount={amount} asks for no picture at all: every class has that many already"
        )
    if total > MAX_ROWS:
        raise InputError(
            f"amount={amount} asks for {total:,} pictures; a partition holds at most {MAX_ROWS:,}"
        )
    return tuple(order for order in orders if order.num_rows)


def _num_to_generate(amount: str, num_real: int) -> int:
    """The pictures to generate for a class with `num_real` pictures; negative if it has enough."""
    match = AMOUNT.fullmatch(amount)
    assert match is not None  # settings are checked when they are made
    if match["each"]:
        return int(match["each"])
    if match["times"]:
        return round(float(match["times"]) * num_real)
    return int(match["target"]) - num_real
