"""Quality of a whole partition, and the gates that hold back one that is not good enough.

Reads only the text column of the parts, in streams; keeps 8 bytes for each text.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from infra.parquet import iter_batches, open_parquet
from infra.storage import Storage
from workers.job import Gates
from workers.part import Receipt, part_key
from workers.plan import Plan

TEXTS_FOR_DIVERSITY = 10_000
Quality = dict[str, float]


@dataclass(frozen=True, slots=True)
class Breach:
    """A gate that was not kept."""

    gate: str
    value: float
    limit: float

    def __str__(self) -> str:
        return f"{self.gate} is {self.value:.4g}, the limit is {self.limit:.4g}"


def measure_quality(storage: Storage, plan: Plan, receipts: list[Receipt]) -> Quality:
    """passed_share of all input rows; of the accepted texts: duplicate_share, distinct_2, mean_length (words)."""
    num_input = sum(receipt.input_rows for receipt in receipts)
    num_accepted = sum(receipt.accepted for receipt in receipts)
    hashes, num_words, pairs = [], 0, _WordPairs()
    for receipt in receipts:
        for texts in _iter_texts(storage, part_key(plan, receipt.shard)):
            hashes.append(np.fromiter((_hash(text) for text in texts), np.uint64, len(texts)))
            num_words += sum(len(text.split()) for text in texts)
            pairs.add(texts)
    num_different = len(np.unique(np.concatenate(hashes))) if hashes else 0
    return {
        "passed_share": num_accepted / num_input if num_input else 0.0,
        "duplicate_share": 1 - num_different / num_accepted if num_accepted else 0.0,
        "distinct_2": pairs.distinct_share(),
        "mean_length": num_words / num_accepted if num_accepted else 0.0,
    }


def _iter_texts(storage: Storage, key: str) -> Iterator[list[str]]:
    with open_parquet(storage, key) as file:
        for batch in iter_batches(file, columns=["text"]):
            yield batch["text"].to_pylist()


class _WordPairs:
    """distinct-2 (Li et al. 2016): different word pairs over all word pairs, of the first texts."""

    def __init__(self) -> None:
        self._different: set[tuple[str, str]] = set()
        self._total = self._texts = 0

    def add(self, texts: list[str]) -> None:
        for text in texts[: TEXTS_FOR_DIVERSITY - self._texts]:
            words = text.split()
            self._different.update(pairwise(words))
            self._total += max(0, len(words) - 1)
            self._texts += 1

    def distinct_share(self) -> float:
        return len(self._different) / self._total if self._total else 0.0


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def find_breaches(gates: Gates, quality: Quality, last: dict[str, Any] | None) -> list[Breach]:
    """The gates that `quality` does not keep; `last` is the quality of the last published partition, if any."""
    breaches = []
    if quality["passed_share"] < gates.min_passed_share:
        breaches.append(Breach("passed_share", quality["passed_share"], gates.min_passed_share))
    if quality["passed_share"] == 0:
        return breaches  # there are no texts that the other gates could speak of
    if quality["duplicate_share"] > gates.max_duplicate_share:
        breaches.append(Breach("duplicate_share", quality["duplicate_share"], gates.max_duplicate_share))
    if quality["distinct_2"] < gates.min_distinct_2:
        breaches.append(Breach("distinct_2", quality["distinct_2"], gates.min_distinct_2))
    if last and last.get("mean_length"):
        drift = abs(quality["mean_length"] / last["mean_length"] - 1)
        if drift > gates.max_length_drift:
            breaches.append(Breach("length_drift", drift, gates.max_length_drift))
    return breaches
