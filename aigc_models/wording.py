"""Pairs of neighbouring words that no training text has: the mark of a broken sentence.

A model asked for facts in a combination unlike its training acts writes on as if the missing fact were there ("holds l
of water"). Such seams are words that never stood side by side. L pairs.
"""

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from aigc_models.acts import Segments, Slot
from aigc_models.words import split_words

BEGIN, END = "⟦begin⟧", "⟦end⟧"


class Wording:
    """Knows pairs by a 64-bit hash; by chance a new pair is taken for a known one less than once in 10¹² times."""

    def __init__(self, pairs_L: Tensor) -> None:
        self.pairs_L = pairs_L
        self.known = frozenset(pairs_L.tolist())

    @classmethod
    def learn(cls, texts: Sequence[Segments]) -> "Wording":
        pairs = {hashed(pair) for text in texts for pair in pairwise(words_of(text))}
        return cls(torch.tensor(sorted(pairs), dtype=torch.int64))

    def unseen(self, text: Segments) -> list[str]:
        """The pairs of neighbouring words, ends of the text included, that training never had."""
        return [" ".join(pair) for pair in pairwise(words_of(text)) if hashed(pair) not in self.known]


def words_of(text: Segments) -> list[str]:
    words = [BEGIN]
    for segment in text:
        if isinstance(segment, Slot):
            words.append(f"⟦{segment.key}⟧")
        else:
            words += [word.form for word in split_words(segment)]
    return [*words, END]


def hashed(pair: tuple[str, str]) -> int:
    digest = hashlib.blake2b("\0".join(pair).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
