"""Which rows each training step sees, where rows differ in length: alike ones together, so that
little is padding.

A row has one length or several (a prefix and a text), each padded on its own.
"""

import random
from collections.abc import Sequence

BUCKET_BATCHES = 32
"""Batches' worth of rows that are sorted by length together."""

Lengths = tuple[int, ...]


class BatchSchedule:
    """Every epoch shuffles, sorts stretches by length and shuffles the batches; any step's rows are
    always the same."""

    def __init__(self, lengths: Sequence[Lengths], batch_tokens: int, seed: int) -> None:
        self.lengths, self.batch_tokens, self.seed = lengths, batch_tokens, seed
        self.num_tokens = sum(map(sum, lengths))
        self.starts, self.last = [0], (-1, [[0]])

    def rows_at(self, step: int) -> list[int]:
        while step >= self.starts[-1]:
            self.last = (len(self.starts) - 1, self.epoch(len(self.starts) - 1))
            self.starts.append(self.starts[-1] + len(self.last[1]))
        epoch = next(i for i in reversed(range(len(self.starts) - 1)) if self.starts[i] <= step)
        if epoch != self.last[0]:
            self.last = (epoch, self.epoch(epoch))
        return self.last[1][step - self.starts[epoch]]

    def epoch(self, number: int) -> list[list[int]]:
        source = random.Random(f"{self.seed}/{number}")
        order = list(range(len(self.lengths)))
        source.shuffle(order)
        stretch = max(1, BUCKET_BATCHES * self.batch_tokens * len(order) // max(1, self.num_tokens))
        batches = []
        for first in range(0, len(order), stretch):
            batches += in_batches(self.lengths, self.batch_tokens, order[first : first + stretch])
        source.shuffle(batches)
        return batches


def in_batches(
    lengths: Sequence[Lengths], batch_tokens: int, rows: Sequence[int] | None = None
) -> list[list[int]]:
    """Row numbers sorted by length and cut so that no batch has over `batch_tokens` positions,
    padding included; a longer row is a batch of its own."""
    order = sorted(
        range(len(lengths)) if rows is None else rows, key=lambda i: (lengths[i][::-1], i)
    )
    batches: list[list[int]] = []
    widest: Lengths = ()
    for row in order:
        widest = tuple(map(max, widest, lengths[row])) if widest else lengths[row]
        if not batches or (len(batches[-1]) + 1) * sum(widest) > batch_tokens:
            batches.append([])
            widest = lengths[row]
        batches[-1].append(row)
    return batches
