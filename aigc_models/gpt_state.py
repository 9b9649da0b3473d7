"""What a GPT keeps while it writes: keys and values of all that each text has before it, and what is left to say.

N branches, P prefix, S positions so far, E width, H heads, D head width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from aigc_models.embedding import FrozenEmbedding

POSITIONS = 32
"""By which a cache grows when it is full."""
ROOM = 2
"""Times as many branches as there are that a cache gets room for when they become too many."""
MIN_PRODUCTS = 400
"""Batched products of fewer multiplications are left to a loop of torch's own, which is slower than its library."""


class Cache:
    """Keys or values [N, H, S, D] of one layer, within a tensor that has room for more of both."""

    def __init__(self, filled_NHSD: Tensor) -> None:
        self._room = filled_NHSD
        self.num_branches, self.num_positions = filled_NHSD.shape[0], filled_NHSD.shape[2]

    @property
    def filled(self) -> Tensor:
        return self._room[: self.num_branches, :, : self.num_positions]

    def put(self, position: int, x_NHD: Tensor) -> Tensor:
        """All that is kept, with what is new at a position: one of those there are, or the next."""
        if position == self._room.shape[2]:
            self._grow(len(self._room))
        self.num_positions = max(self.num_positions, position + 1)
        self.filled[:, :, position] = x_NHD
        return self.filled

    def select(self, branches: Tensor, moved: Tensor) -> None:
        """`moved`: the places of those branches that were at another one before; nothing else is copied."""
        moved_NHSD = self.filled.index_select(0, branches[moved])
        if len(branches) > len(self._room):
            self._grow(ROOM * len(branches))
        self.num_branches = len(branches)
        self.filled.index_copy_(0, moved, moved_NHSD)

    def _grow(self, num_branches: int) -> None:
        filled = self.filled
        _, num_heads, _, width = filled.shape
        self._room = filled.new_empty(num_branches, num_heads, self.num_positions + POSITIONS, width)
        self.filled.copy_(filled)


@dataclass(slots=True)
class GPTState:
    embedding: FrozenEmbedding
    prefix_NP: Tensor
    remaining_NP: Tensor
    """Of the prefix, what the text does not state yet."""
    hidden_NS: Tensor
    """Of the first positions: 0 where one is visible, minus infinity where it is padding or to come."""
    keys: list[Cache]
    values: list[Cache]
    num_said: int = 0

    @classmethod
    def after_prefix(
        cls, prefix_NP: Tensor, visible_NP: Tensor, cache: Sequence[tuple[Tensor, Tensor]], embedding: FrozenEmbedding
    ) -> "GPTState":
        """`cache`: keys and values [N, H, P, D] of each layer."""
        num_to_come = max(0, -(-MIN_PRODUCTS // cache[0][0].shape[-1]) - prefix_NP.shape[1])
        keys, values = ([Cache(F.pad(x, (0, 0, 0, num_to_come))) for x in kind] for kind in zip(*cache, strict=True))
        hidden_NS = torch.where(F.pad(visible_NP, (0, num_to_come)), 0.0, float("-inf")).to(cache[0][0].dtype)
        return cls(embedding, prefix_NP, visible_NP, hidden_NS, keys, values)

    def select(self, branches: Tensor) -> "GPTState":
        """The state of the given branches, which may repeat. Takes the caches over; copies what changes its place."""
        moved = (branches != torch.arange(len(branches), device=branches.device)).nonzero()[:, 0]
        for cache in (*self.keys, *self.values):
            cache.select(branches, moved)
        return GPTState(
            self.embedding,
            self.prefix_NP[branches],
            self.remaining_NP[branches],
            self.hidden_NS[branches],
            self.keys,
            self.values,
            self.num_said,
        )

    @property
    def position(self) -> int:
        """Of the token to come, the same for all, since prefixes are padded on the left."""
        return self.prefix_NP.shape[1] + self.num_said

    def attend(self, layer: int, query_NHD: Tensor, key_NHD: Tensor, value_NHD: Tensor) -> Tensor:
        """softmax(QKᵀ)V [N, H, D] over all that came before and this token, whose key and value are kept."""
        scores_NH1S = query_NHD[:, :, None] @ self.keys[layer].put(self.position, key_NHD).transpose(2, 3)
        self.hidden_NS[:, self.position : self.position + 1] = 0.0
        scores_NH1S[..., : self.hidden_NS.shape[1]] += self.hidden_NS[:, None, None]
        mixed_NH1D = torch.softmax(scores_NH1S, dim=-1) @ self.values[layer].put(self.position, value_NHD)
        return mixed_NH1D[:, :, 0]

    def mean_of_remaining(self) -> Tensor:
        """[N, E]: the mean embedding of what is not stated yet; zero where nothing is left."""
        weights_NP = self.remaining_NP.to(self.hidden_NS.dtype)
        return self.embedding.sums(self.prefix_NP, weights_NP) / weights_NP.sum(-1, keepdim=True).clamp(min=1.0)
