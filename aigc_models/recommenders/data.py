"""Histories of items as tokens, the oldest first.

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
"""The shortest history whose last item can be held out: two items remain to learn from."""


class ItemDataError(ValueError):
    """The histories cannot be learned from."""


@dataclass(frozen=True)
class Items:
    """The known items. An item's token is its place here, after the special tokens."""

    ids: tuple[str, ...]

    @cached_property
    def token_of(self) -> dict[str, int]:
        return {item: NUM_SPECIAL + place for place, item in enumerate(self.ids)}

    def tokens(self, history: Sequence[str]) -> list[int]:
        """Tokens of a history's known items; skips unknown ones."""
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
    """The start of each history, and the end of the last one."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    def of(self, user: int) -> np.ndarray:
        return self.tokens_N[self.starts[user] : self.starts[user + 1]]

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.starts)


def as_sequences(histories: Sequence[Sequence[int]]) -> Sequences:
    ends = np.cumsum([len(history) for history in histories])
    starts = np.concatenate([[0], ends]).astype(np.int64)
    flat = [token for history in histories for token in history]
    return Sequences(np.asarray(flat, dtype=np.int64), starts)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Histories without their last items, and these items as the answers."""

    histories: list[np.ndarray]
    answers_B: Tensor


def split_keys(histories: Sequence[Sequence[str]]) -> np.ndarray:
    """A hash of each history's first items, which does not change while the history grows."""
    keys = []
    for history in histories:
        first_items = "\x1f".join(history[: MIN_ITEMS - 1])
        digest = blake2b(first_items.encode(), digest_size=8).digest()
        keys.append(int.from_bytes(digest, "big"))
    return np.array(keys, dtype=np.uint64)


def hold_out(sequences: Sequences, keys: np.ndarray, most: int) -> tuple[Sequences, HeldOut]:
    """Splits off the last items of the histories with the lowest keys.

    Takes at most `most` histories, and at most a tenth of those with enough items. The choice only
    depends on the keys, on `most` and on which histories have enough items. While these stay the
    same, retraining holds out the same users, so an older model was not trained on their last items
    either. Raises `ItemDataError` if fewer than two histories have enough items.
    """
    eligible = np.flatnonzero(sequences.lengths >= MIN_ITEMS)
    if len(eligible) < 2:
        raise ItemDataError(
            f"{len(eligible)} histories have {MIN_ITEMS} or more items; at least two are needed"
        )
    by_key = eligible[np.argsort(keys[eligible], kind="stable")]
    chosen = by_key[: max(1, min(most, len(eligible) // 10))]
    histories = [sequences.of(user)[:-1] for user in chosen]
    answers = [int(sequences.of(user)[-1]) for user in chosen]
    last = sequences.starts[chosen + 1] - 1
    lengths = sequences.lengths.copy()
    lengths[chosen] -= 1
    starts = np.concatenate([[0], np.cumsum(lengths)])
    training = Sequences(np.delete(sequences.tokens_N, last), starts)
    return training, HeldOut(histories, torch.tensor(answers))


def windows(sequences: Sequences, max_items: int) -> list[np.ndarray]:
    """Cuts histories from their end into pieces of at most `max_items`.

    Neighbouring pieces share one item, so that every item but the first is predicted once.
    """
    pieces = []
    for user in range(len(sequences)):
        history = sequences.of(user)
        for end in range(len(history), 0, 1 - max_items):
            piece = history[max(0, end - max_items) : end]
            if len(piece) > 1:  # a single item has nothing to predict
                pieces.append(piece)
    return pieces


def left_padded(histories: Sequence[np.ndarray | Sequence[int]]) -> Tensor:
    """Tokens [B, T] with PAD on the left, with at least one position."""
    width = max(1, *map(len, histories))
    tokens_BT = np.full((len(histories), width), PAD, dtype=np.int64)
    for row, history in enumerate(histories):
        if len(history):
            tokens_BT[row, width - len(history) :] = history
    return torch.from_numpy(tokens_BT)
