"""The classes of a table of pictures: their names, how many pictures each has, how many are to be
generated."""

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
"""By store, key and etag. A cache that held the stores themselves would keep open the connections
of each."""


class LabelNames:
    """Which name each label has: always the same one, and no other label has it."""

    def __init__(self) -> None:
        self._names: dict[int, tuple[str, str]] = {}
        self._labels: dict[str, int] = {}
        self._num_declared: int | None = None

    def add(self, label: int, name: str, place: str) -> None:
        """Takes a label and its name as they are found at `place`; raises InputError where they
        contradict others."""
        if self._num_declared is not None and label >= self._num_declared:
            most = self._num_declared - 1
            raise InputError(
                f"{place}, column label: found {label}; expected 0 to {most}, as the metadata name them"
            )
        known, where = self._names.setdefault(label, (name, place))
        if known != name:
            raise InputError(
                f"{place}, column label_name: found {name!r}; expected {known!r}, as {where} calls {label}"
            )
        if self._labels.setdefault(name, label) != label:
            other = self._labels[name]
            raise InputError(
                f"{place}, column label: found {label}; expected {other}, which {self._names[other][1]} calls {name!r}"
            )

    def add_rows(self, rows: pa.RecordBatch, file_name: str, rows_before: int) -> None:
        """Takes the labels of the next rows of a file; they have been checked one by one."""
        pairs = zip(rows["label"].to_pylist(), rows["label_name"].to_pylist(), strict=True)
        first = {pair: row for row, pair in reversed(list(enumerate(pairs, rows_before + 1)))}
        for (label, name), row in sorted(first.items(), key=lambda found: found[1]):
            self.add(label, name, f"{file_name}, row {row}")

    def add_declared(self, schema: pa.Schema, file_name: str) -> None:
        """Takes the names of a `ClassLabel`, where Hugging Face's metadata of the file have one."""
        names = _declared_names(schema)
        self._num_declared = len(names) or None
        for label, name in enumerate(names):
            self.add(label, name, f"the metadata of {file_name}")


def _declared_names(schema: pa.Schema) -> list[str]:
    """Empty also where other software wrote metadata of another shape."""
    try:
        names = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]["label"][
            "names"
        ]
    except (LookupError, TypeError, ValueError, RecursionError):
        return []
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []


def count_classes(storage: Storage, snapshot: Snapshot) -> dict[LabelName, int]:
    """Pictures of each class, by label. Reads two columns of every file; of one that did not change
    only once."""
    counts: Counter[LabelName] = Counter()
    names = LabelNames()
    for item in snapshot.objects:
        found = count_file(storage, item.key, item.etag)
        for label, name in found:
            names.add(label, name, item.key)
        counts.update(found)
    return dict(sorted(counts.items()))


def count_file(storage: Storage, key: str, etag: str) -> Mapping[LabelName, int]:
    """Pictures of each class in one file."""
    place = storage.uri, key, etag
    if place not in _COUNTED:
        _COUNTED[place] = _count_rows(storage, key)
    return _COUNTED[place]


def _count_rows(storage: Storage, key: str) -> Mapping[LabelName, int]:
    counts: Counter[LabelName] = Counter()
    with open_parquet(storage, key) as file:
        for batch in iter_batches(file, columns=["label", "label_name"]):
            counts.update(
                zip(batch["label"].to_pylist(), batch["label_name"].to_pylist(), strict=True)
            )
    return counts


def check_amount(amount: str) -> None:
    """Raises ValueError unless `amount` is one of 500, 1.5x, up-to-1000."""
    if not AMOUNT.fullmatch(amount):
        raise ValueError(
            f"amount: found {amount!r}; expected a number of each class (500), a multiple of the real ones (2x), or "
            "what every class is to be filled up to, real ones counted (up-to-1000)"
        )


def orders(storage: Storage, snapshot: Snapshot, amount: str) -> tuple[Order, ...]:
    """An order for each class, by label; raises InputError where nothing is left to generate, or
    absurdly much."""
    match = AMOUNT.fullmatch(amount)
    assert match is not None  # settings are checked when they are made
    each, times, target = match["each"], match["times"], match["target"]
    found = []
    for (label, name), num_real in count_classes(storage, snapshot).items():
        wanted = (
            int(each)
            if each
            else round(float(times) * num_real)
            if times
            else int(target) - num_real
        )
        found.append(Order(label, name, max(0, wanted)))
    total = sum(order.num_rows for order in found)
    if total == 0:
        raise InputError(
            f"amount={amount} asks for no picture at all: every class has that many already"
        )
    if total > MAX_ROWS:
        raise InputError(
            f"amount={amount} asks for {total:,} pictures; at most {MAX_ROWS:,} go into one partition"
        )
    return tuple(order for order in found if order.num_rows)
