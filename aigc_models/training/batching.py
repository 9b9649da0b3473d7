"""Chooses the rows of each training step if rows differ in length: a batch has rows of similar
length, so that little of it is padding.

A row has one length or several (a prefix and a text), each of which is padded separately.
"""

import random
from collections.abc import Sequence

BUCKET_BATCHES = 32
"""How many batches' worth of rows are sorted by length together."""

Lengths = tuple[int, ...]


class BatchSchedule:
    """Every epoch shuffles the rows, sorts buckets of them by length, and shuffles the batches.

    The rows of a step depend only on the lengths and the seed.
    """

    def __init__(self, lengths: Sequence[Lengths], batch_tokens: int, seed: int) -> None:
        self._lengths = lengths
        self._batch_tokens = batch_tokens
        self._seed = seed
        self._num_tokens = sum(map(sum, lengths))
        self._first_steps = [0]
        """Of each epoch so far, and of the one after them."""
        self._cached_epoch = -1
        self._cached_batches: list[list[int]] = []

    def rows_at(self, step: int) -> list[int]:
        while step >= self._first_steps[-1]:
            batches = self._batches_of(len(self._first_steps) - 1)
            self._first_steps.append(self._first_steps[-1] + len(batches))
        epoch = len(self._first_steps) - 2
        while self._first_steps[epoch] > step:
            epoch -= 1
        return self._batches_of(epoch)[step - self._first_steps[epoch]]

    def epoch(self, number: int) -> list[list[int]]:
        """The rows of each batch of an epoch."""
        source = random.Random(f"{self._seed}/{number}")
        order = list(range(len(self._lengths)))
        source.shuffle(order)
        bucket_tokens = BUCKET_BATCHES * self._batch_tokens
        bucket_rows = max(1, bucket_tokens * len(order) // max(1, self._num_tokens))
        batches = []
        for first in range(0, len(order), bucket_rows):
            bucket = order[first : first + bucket_rows]
            batches += in_batches(self._lengths, self._batch_tokens, bucket)
        source.shuffle(batches)
        return batches

    def _batches_of(self, epoch: int) -> list[list[int]]:
        if epoch != self._cached_epoch:
            self._cached_batches = self.epoch(epoch)
            self._cached_epoch = epoch
        return self._cached_batches


def in_batches(
    lengths: Sequence[Lengths], batch_tokens: int, rows: Sequence[int] | None = None
) -> list[list[int]]:
    """Sorts rows by length and cuts them into batches of at most `batch_tokens` positions.

    Padding counts. A longer row is a batch by itself. `rows`: row numbers, all rows by default.
    """
    if rows is None:
        rows = range(len(lengths))
    order = sorted(rows, key=lambda row: (lengths[row][::-1], row))
    batches: list[list[int]] = []
    widest: Lengths = ()
    for row in order:
        widest = tuple(map(max, widest, lengths[row])) if widest else lengths[row]
        if not batches or (len(batches[-1]) + 1) * sum(widest) > batch_tokens:
            batches.append([])
            widest = lengths[row]
        batches[-1].append(row)
    return batches
