"""Quality of a whole partition, and the gates that hold back one that is not good enough.

A job's meter says what is measured; it sees the accepted rows in streams, a few columns of them.
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
"""Figures of quality: what people call them, and their format."""


CHANGES: Mapping[str, Callable[[float, float], float]] = {
    "drift": lambda value, last: abs(value / last - 1),
    "drop": lambda value, last: 1 - value / last,
    "rise": lambda value, last: value - last,
}


class Meter(Protocol):
    """Measures the accepted rows of one partition."""

    @property
    def columns(self) -> Sequence[str]:
        """What of the parts is read."""
        ...

    def add(self, batch: pa.RecordBatch) -> None:
        """Takes the next rows, in the order of the parts."""
        ...

    def quality(self, orders: Sequence[Order], summary: Mapping[str, Any], /) -> Quality:
        """The figures of all rows so far; `orders` and `summary` are the plan's, each may be
        empty."""
        ...


@dataclass(frozen=True, slots=True)
class Gate:
    """A limit to a figure of quality, or to how it has moved since the last published partition.

    `drift` is its change and `drop` its fall, as shares of what it was; `rise` is by how much it
    grew.
    """

    figure: str
    kind: Literal["min", "max", "drift", "drop", "rise"]
    limit: float


@dataclass(frozen=True, slots=True)
class Breach:
    """A gate that was not kept."""

    gate: str
    value: float
    limit: float

    def __str__(self) -> str:
        return f"{self.gate} is {self.value:.4g}, the limit is {self.limit:.4g}"


def find_breaches(
    gates: Sequence[Gate], quality: Mapping[str, float], last: Mapping[str, Any] | None
) -> list[Breach]:
    """The gates that `quality` does not keep; `last` is the quality of the last published
    partition, if any.

    A figure that could not be measured, as the diversity of single pictures, is not in `quality`,
    and its gates are not asked.
    """
    if quality[PASSED_SHARE] == 0:  # there are no rows that other gates could speak of
        gates = [gate for gate in gates if gate.figure == PASSED_SHARE]
    measured = [gate for gate in gates if gate.figure in quality]
    found = [
        _breach(gate, quality[gate.figure], (last or {}).get(gate.figure)) for gate in measured
    ]
    return [breach for breach in found if breach]


def _breach(gate: Gate, value: float, last: float | None) -> Breach | None:
    if gate.kind in CHANGES:
        if last is None or (last == 0 and gate.kind != "rise"):  # no share of nothing
            return None
        change = CHANGES[gate.kind](value, last)
        return (
            Breach(f"{gate.figure}_{gate.kind}", change, gate.limit)
            if change > gate.limit
            else None
        )
    is_broken = value < gate.limit if gate.kind == "min" else value > gate.limit
    return Breach(gate.figure, value, gate.limit) if is_broken else None
