"""The quality of a partition, and the gates that hold a bad partition back.

A job's meter decides what is measured. It sees the accepted rows batch by batch, and only the
columns it asks for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import pyarrow as pa

from workers.pins import Order

Quality = dict[str, float]
PASSED_SHARE = "passed_share"
FIGURES: Mapping[str, tuple[str, str]] = {
    "passed_share": ("share passed", ".1%"),
    "duplicate_share": ("share of duplicates", ".1%"),
    "distinct_2": ("distinct-2", ".3f"),
    "mean_length": ("mean length, words", ".1f"),
    "lowest_class_share": ("share passed of the class with the fewest", ".1%"),
    "diversity": ("diversity of pictures", ".3f"),
    "lowest_diversity": ("diversity of the class with the least", ".3f"),
    "ndcg_10": ("NDCG@10 of the recommender", ".4f"),
    "hr_10": ("HR@10 of the recommender", ".4f"),
    "coverage": ("share of the catalogue that is recommended", ".1%"),
    "popularity_lift": ("popularity lift", "+.2f"),
}
"""By figure: its display name and its number format."""

CHANGES: Mapping[str, Callable[[float, float], float]] = {
    "drift": lambda value, last: abs(value / last - 1),
    "drop": lambda value, last: 1 - value / last,
    "rise": lambda value, last: value - last,
}
"""(value, value of the last published partition) → the change that a gate limits."""


class Meter(Protocol):
    """Measures the accepted rows of one partition."""

    @property
    def columns(self) -> Sequence[str]:
        """The columns of the parts to read."""
        ...

    def add(self, batch: pa.RecordBatch) -> None:
        """Adds the next rows, in the order of the parts."""
        ...

    def quality(self, orders: Sequence[Order], summary: Mapping[str, Any], /) -> Quality:
        """The figures of all rows so far; `orders` and `summary` come from the plan and may be
        empty."""
        ...


@dataclass(frozen=True, slots=True)
class Gate:
    """A limit on a quality figure, or on its change since the last published partition.

    `drift` limits the relative change, `drop` the relative decrease and `rise` the absolute
    increase.
    """

    figure: str
    kind: Literal["min", "max", "drift", "drop", "rise"]
    limit: float


@dataclass(frozen=True, slots=True)
class Breach:
    """A gate that failed."""

    gate: str
    value: float
    limit: float

    def __str__(self) -> str:
        return f"{self.gate} is {self.value:.4g}, the limit is {self.limit:.4g}"


def find_breaches(
    gates: Sequence[Gate], quality: Mapping[str, float], last: Mapping[str, Any] | None
) -> list[Breach]:
    """The gates that `quality` fails; `last` is the quality of the last published partition.

    A figure that cannot be measured, such as the diversity of single pictures, is missing from
    `quality`, and its gates are skipped.
    """
    if quality[PASSED_SHARE] == 0:  # without accepted rows, the other figures mean nothing
        gates = [gate for gate in gates if gate.figure == PASSED_SHARE]
    breaches = []
    for gate in gates:
        if gate.figure in quality:
            last_value = last.get(gate.figure) if last else None
            breaches.append(_find_breach(gate, quality[gate.figure], last_value))
    return [breach for breach in breaches if breach]


def _find_breach(gate: Gate, value: float, last: float | None) -> Breach | None:
    if gate.kind in CHANGES:
        if last is None or (last == 0 and gate.kind != "rise"):  # a relative change needs a base
            return None
        change = CHANGES[gate.kind](value, last)
        is_broken = change > gate.limit
        return Breach(f"{gate.figure}_{gate.kind}", change, gate.limit) if is_broken else None
    is_broken = value < gate.limit if gate.kind == "min" else value > gate.limit
    return Breach(gate.figure, value, gate.limit) if is_broken else None
