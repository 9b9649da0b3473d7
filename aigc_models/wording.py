"""Neighbouring words that no training text has side by side: the mark of a broken sentence.

A model asked for facts in a combination unlike its training acts writes on as if the missing fact were there ("holds l
of water"), or puts a value where another belongs ("a height of 220 g"). Looked at are pairs of words, and the two words
before a slot together with it. L runs of words.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from aigc_models.acts import Segments, Slot
from aigc_models.words import word_forms

BEGIN, END = "⟦begin⟧", "⟦end⟧"


class Wording:
    """Knows runs of words by a 64-bit hash: a new one is taken for a known one less than once in 10¹² times."""

    def __init__(self, runs_L: Tensor) -> None:
        self.runs_L = runs_L
        self.known = frozenset(runs_L.tolist())

    @classmethod
    def learn(cls, texts: Sequence[Segments]) -> "Wording":
        runs = {hashed(run) for text in texts for run in runs_of(text)}
        return cls(torch.tensor(sorted(runs), dtype=torch.int64))

    def unseen(self, text: Segments) -> list[str]:
        """The runs of words, ends of the text included, that training never had."""
        return [" ".join(run) for run in runs_of(text) if hashed(run) not in self.known]


def runs_of(text: Segments) -> list[tuple[str, ...]]:
    words = words_of(text)
    before_slots = [run for run in zip(words, words[1:], words[2:], strict=False) if run[2].startswith("⟦")]
    return [*pairwise(words), *(run for run in before_slots if run[2] != END)]


def words_of(text: Segments) -> list[str]:
    words = [BEGIN]
    for segment in text:
        if isinstance(segment, Slot):
            words.append(f"⟦{segment.key}⟧")
        else:
            words += word_forms(segment)
    return [*words, END]


@lru_cache(maxsize=65536)
def hashed(run: tuple[str, ...]) -> int:
    digest = hashlib.blake2b("\0".join(run).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
