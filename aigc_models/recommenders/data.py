"""Histories of items as tokens, the older ones first.

N items of all histories together, U users, B batch, T positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from aigc_models.recommenders.networks import NUM_SPECIAL, PAD

MIN_ITEMS = 3
"""Of a history of which the last item can be held out: two remain to learn from."""


class ItemDataError(ValueError):
    """The histories cannot be learned from."""


@dataclass(frozen=True)
class Items:
    """The known items; an item's token is its place here after the special tokens."""

    ids: tuple[str, ...]

    @cached_property
    def token_of(self) -> dict[str, int]:
        return {item: NUM_SPECIAL + place for place, item in enumerate(self.ids)}

    def tokens(self, history: Sequence[str]) -> list[int]:
        """Of the known items of a history."""
        token_of = self.token_of
        return [token_of[item] for item in history if item in token_of]

    @property
    def vocab_size(self) -> int:
        return NUM_SPECIAL + len(self.ids)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Sequences:
    tokens_N: np.ndarray
    """int64, history after history."""
    starts: np.ndarray
    """Where each history begins, and the end of the last one."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    def of(self, user: int) -> np.ndarray:
        return self.tokens_N[self.starts[user] : self.starts[user + 1]]

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.starts)


def as_sequences(histories: Sequence[Sequence[int]]) -> Sequences:
    starts = np.concatenate([[0], np.cumsum([len(history) for history in histories])]).astype(
        np.int64
    )
    flat = [token for history in histories for token in history]
    return Sequences(np.asarray(flat, dtype=np.int64), starts)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Histories without their last items, and these."""

    histories: list[np.ndarray]
    answers_B: Tensor


def split_keys(histories: Sequence[Sequence[str]]) -> np.ndarray:
    """A number for each history that stays the same while it grows: a hash of its first items."""
    digests = (
        blake2b("\x1f".join(history[: MIN_ITEMS - 1]).encode(), digest_size=8)
        for history in histories
    )
    return np.array([int.from_bytes(digest.digest(), "big") for digest in digests], dtype=np.uint64)


def hold_out(sequences: Sequences, keys: np.ndarray, most: int) -> tuple[Sequences, HeldOut]:
    """Takes the last item from at most `most` histories, at most a tenth of those that are long
    enough for it: those with the lowest keys.

    With keys that stay, as long as `most` and the users with long enough histories do, whoever was
    trained earlier held out the same users: none of their last items is known to it.
    """
    able = np.flatnonzero(sequences.lengths >= MIN_ITEMS)
    if len(able) < 2:
        raise ItemDataError(
            f"{len(able)} histories have {MIN_ITEMS} or more items; at least two are needed"
        )
    chosen = able[np.argsort(keys[able], kind="stable")][: max(1, min(most, len(able) // 10))]
    histories = [sequences.of(user)[:-1] for user in chosen]
    answers = [int(sequences.of(user)[-1]) for user in chosen]
    last = sequences.starts[chosen + 1] - 1
    lengths = sequences.lengths.copy()
    lengths[chosen] -= 1
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return Sequences(np.delete(sequences.tokens_N, last), starts), HeldOut(
        histories, torch.tensor(answers)
    )


def windows(sequences: Sequences, max_items: int) -> list[np.ndarray]:
    """Histories cut from their end into pieces of at most `max_items`; pieces of one item teach
    nothing."""
    pieces = []
    for user in range(len(sequences)):
        history = sequences.of(user)
        pieces += [
            history[max(0, end - max_items) : end] for end in range(len(history), 0, 1 - max_items)
        ]
    return [piece for piece in pieces if len(piece) > 1]


def left_padded(histories: Sequence[np.ndarray | Sequence[int]]) -> Tensor:
    """[B, T] with PAD on the left, at least one position."""
    width = max(1, *map(len, histories))
    tokens_BT = np.full((len(histories), width), PAD, dtype=np.int64)
    for row, history in enumerate(histories):
        if len(history):
            tokens_BT[row, width - len(history) :] = history
    return torch.from_numpy(tokens_BT)
