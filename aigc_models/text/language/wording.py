"""Runs of words that no training text has: the mark of a broken sentence.

Given an unusual combination of facts, a model may write on as if a missing fact were there ("holds
l of water", "a water column of power"), or put a value where another belongs ("a height of 220 g").
Three kinds of runs are checked: pairs of neighbours; a slot with the two words before it; and pairs
that announce a slot, which means that in training a slot always follows them.

L runs of words.
"""

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from aigc_models.text.language.acts import Segments, Slot
from aigc_models.text.language.words import word_forms

BEGIN, END = "⟦begin⟧", "⟦end⟧"
ANNOUNCED = "⟦⟧"
"""Third word of the runs that encode an announcing pair."""


class Wording:
    """The known runs of words, as 64-bit hashes: a new run is mistaken for a known one less than
    once in 10¹² times."""

    def __init__(self, runs_L: Tensor) -> None:
        self.runs_L = runs_L
        self.known = frozenset(runs_L.tolist())

    @classmethod
    def learn(cls, texts: Sequence[Segments]) -> "Wording":
        pairs: set[tuple[str, ...]] = set()
        into_slot: set[tuple[str, ...]] = set()
        before_word: set[tuple[str, ...]] = set()
        for text in texts:
            words = words_of(text)
            pairs.update(pairwise(words))
            for run in triples_of(words):
                if is_slot_word(run[2]):
                    into_slot.add(run)
                else:
                    before_word.add(run[:2])
        announcing = {run[:2] for run in into_slot} - before_word
        known = pairs | into_slot | {(*pair, ANNOUNCED) for pair in announcing}
        return cls(torch.tensor(sorted(map(hashed, known)), dtype=torch.int64))

    def unseen(self, text: Segments) -> list[str]:
        """The runs that training never had; the ends of a text count as words."""
        words = words_of(text)
        pairs = [pair for pair in pairwise(words) if hashed(pair) not in self.known]
        triples = [run for run in triples_of(words) if self.is_broken(run)]
        return [" ".join(run) for run in (*pairs, *triples)]

    def is_broken(self, run: tuple[str, ...]) -> bool:
        """Whether a run of three ends in a slot that training never has there, or lacks a slot that
        training always has there."""
        if is_slot_word(run[2]):
            return hashed(run) not in self.known
        is_announced = hashed((*run[:2], ANNOUNCED)) in self.known
        # An unknown pair is reported already.
        return is_announced and hashed(run[1:]) in self.known


def triples_of(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    yield from zip(words, words[1:], words[2:], strict=False)


def is_slot_word(word: str) -> bool:
    return word.startswith("⟦") and word != END


def words_of(text: Segments) -> list[str]:
    """Case-folded words; a slot is one word, and the ends of the text are words, too."""
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
