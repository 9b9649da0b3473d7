"""Neighbouring words that no training text has side by side: the mark of a broken sentence.

A model asked for facts in a combination unlike its training acts writes on as if the missing fact
were there ("holds l of water", "a water column of power"), or puts a value where another belongs
("a height of 220 g"). Looked at are pairs of words, the two words before a slot together with it,
and whether a slot follows two words that in training announce one: there nothing else ever follows
them. L runs of words.
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
"""Behind two words: a slot follows them always."""


class Wording:
    """Knows runs of words by a 64-bit hash: a new one is taken for a known one less than once in
    10¹² times."""

    def __init__(self, runs_L: Tensor) -> None:
        self.runs_L = runs_L
        self.known = frozenset(runs_L.tolist())

    @classmethod
    def learn(cls, texts: Sequence[Segments]) -> "Wording":
        runs = {run for text in texts for run in runs_of(words_of(text))}
        threes = {run for run in runs if len(run) == 3}
        before_slots = {run for run in threes if is_slot(run[2])}
        announcing = {run[:2] for run in before_slots} - {run[:2] for run in threes - before_slots}
        kept = runs - threes | before_slots | {(*pair, ANNOUNCED) for pair in announcing}
        return cls(torch.tensor(sorted(map(hashed, kept)), dtype=torch.int64))

    def unseen(self, text: Segments) -> list[str]:
        """The runs of words, ends of the text included, that training never had."""
        return [" ".join(run) for run in runs_of(words_of(text)) if not self.has(run)]

    def has(self, run: tuple[str, ...]) -> bool:
        if len(run) == 2 or is_slot(run[2]):
            return hashed(run) in self.known
        is_announced = hashed((*run[:2], ANNOUNCED)) in self.known
        return not is_announced or hashed(run[1:]) not in self.known  # the pair is named instead


def runs_of(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Pairs and threes."""
    yield from pairwise(words)
    yield from zip(words, words[1:], words[2:], strict=False)


def is_slot(word: str) -> bool:
    return word.startswith("⟦") and word != END


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
