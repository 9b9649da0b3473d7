"""What a GPT keeps while it writes: keys and values of all positions so far, and what is left to
say.

Texts are a tree: a position that several branches have before them is kept once, and each branch
names its own. So branches part and end without any copy (paged attention, Kwon et al. 2023, with
pages of one position).

N branches, P prefix, S positions so far, E width, H heads, D head width, R rows kept: one for each
head and position.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from aigc_models.text.networks.embedding import FrozenEmbedding
from aigc_models.text.networks.row_attention import mixed, scores

GROWTH = 2
"""Times as many rows as there are that get room when it runs out."""


class Rows:
    """Keys or values [R, D] of one layer, within a tensor that has room for more."""

    def __init__(self, rows_RD: Tensor) -> None:
        self._room, self._num_rows = rows_RD, len(rows_RD)

    def __len__(self) -> int:
        return self._num_rows

    def with_new(self, rows_RD: Tensor) -> Tensor:
        """Adds rows and returns all there are."""
        before, self._num_rows = self._num_rows, self._num_rows + len(rows_RD)
        if self._num_rows > len(self._room):
            room = self._room.new_empty(GROWTH * self._num_rows, self._room.shape[1])
            room[:before] = self._room[:before]
            self._room = room
        self._room[before : self._num_rows] = rows_RD
        return self._room[: self._num_rows]


@dataclass(slots=True)
class GPTState:
    embedding: FrozenEmbedding
    prefix_NP: Tensor
    remaining_NP: Tensor
    """Of the prefix, what the text does not state yet."""
    hidden_NP: Tensor
    """0 where the prefix is visible, minus infinity where it is padding."""
    places_NHS: Tensor
    """The rows of what each branch has before it."""
    keys: list[Rows]
    values: list[Rows]

    @classmethod
    def after_prefix(
        cls,
        prefix_NP: Tensor,
        visible_NP: Tensor,
        cache: Sequence[tuple[Tensor, Tensor]],
        embedding: FrozenEmbedding,
    ) -> "GPTState":
        """`cache`: keys and values [N, H, P, D] of each layer."""
        keys, values = (
            [Rows(x_NHPD.flatten(0, 2)) for x_NHPD in kind] for kind in zip(*cache, strict=True)
        )
        shape_NHP = cache[0][0].shape[:3]
        places_NHP = torch.arange(len(keys[0]), device=prefix_NP.device).view(shape_NHP)
        hidden_NP = torch.where(visible_NP, 0.0, float("-inf")).to(cache[0][0].dtype)
        return cls(embedding, prefix_NP, visible_NP, hidden_NP, places_NHP, keys, values)

    def select(self, branches: Tensor) -> "GPTState":
        """The state of the given branches, which may repeat. What is kept stays where it is."""
        return replace(
            self,
            prefix_NP=self.prefix_NP[branches],
            remaining_NP=self.remaining_NP[branches],
            hidden_NP=self.hidden_NP[branches],
            places_NHS=self.places_NHS[branches],
        )

    @property
    def position(self) -> int:
        """Of the token to come, the same for all, since prefixes are padded on the left."""
        return self.places_NHS.shape[2]

    def go_on(self) -> None:
        """Gives each branch a place for its next position."""
        num_branches, num_heads, _ = self.places_NHS.shape
        first = len(self.keys[0])
        new_R = torch.arange(first, first + num_branches * num_heads, device=self.places_NHS.device)
        self.places_NHS = torch.cat(
            [self.places_NHS, new_R.view(num_branches, num_heads, 1)], dim=2
        )

    def attend(self, layer: int, query_NHD: Tensor, key_NHD: Tensor, value_NHD: Tensor) -> Tensor:
        """softmax(QKᵀ)V [N, H, D] over all that came before and this token, whose key and value are
        kept."""
        scores_NHS = scores(
            query_NHD, self.keys[layer].with_new(key_NHD.flatten(0, 1)), self.places_NHS
        )
        scores_NHS[:, :, : self.hidden_NP.shape[1]] += self.hidden_NP[:, None]
        values_RD = self.values[layer].with_new(value_NHD.flatten(0, 1))
        return mixed(torch.softmax(scores_NHS, dim=-1), values_RD, self.places_NHS)

    def mean_of_remaining(self) -> Tensor:
        """[N, E]: the mean embedding of what is not stated yet; zero where nothing is left."""
        weights_NP = self.remaining_NP.to(self.hidden_NP.dtype)
        return self.embedding.sums(self.prefix_NP, weights_NP) / weights_NP.sum(
            -1, keepdim=True
        ).clamp(min=1.0)
