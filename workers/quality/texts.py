"""The quality of a partition of texts. Keeps 8 bytes of every text."""

import hashlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from workers.pins import Order
from workers.quality.gates import Gate, Quality

TEXTS_FOR_DIVERSITY = 10_000
TEXT_GATES = (
    Gate("passed_share", "min", 0.8),
    Gate("duplicate_share", "max", 0.2),
    Gate("distinct_2", "min", 0.002),
    Gate("mean_length", "drift", 0.5),
)


class TextMeter:
    """Measures `duplicate_share`, `distinct_2` and `mean_length`.

    - distinct_2 (Li et al. 2016): distinct over all word pairs, of the first texts
    - mean_length: in words
    """

    columns = ("text",)

    def __init__(self) -> None:
        self._hashes: list[np.ndarray] = []
        self._pairs: set[tuple[str, str]] = set()
        self._num_texts = 0
        self._num_words = 0
        self._num_pairs = 0

    def add(self, batch: pa.RecordBatch) -> None:
        texts = batch["text"].to_pylist()
        self._hashes.append(np.fromiter((_hash(text) for text in texts), np.uint64, len(texts)))
        self._num_words += sum(len(text.split()) for text in texts)
        for text in texts[: max(0, TEXTS_FOR_DIVERSITY - self._num_texts)]:
            words = text.split()
            self._pairs.update(pairwise(words))
            self._num_pairs += max(0, len(words) - 1)
        self._num_texts += len(texts)

    def quality(self, _orders: Sequence[Order], _summary: Mapping[str, Any]) -> Quality:
        num_distinct = len(np.unique(np.concatenate(self._hashes))) if self._hashes else 0
        return {
            "duplicate_share": 1 - num_distinct / self._num_texts if self._num_texts else 0.0,
            "distinct_2": len(self._pairs) / self._num_pairs if self._num_pairs else 0.0,
            "mean_length": self._num_words / self._num_texts if self._num_texts else 0.0,
        }


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
