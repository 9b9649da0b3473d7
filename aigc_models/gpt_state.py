"""What a GPT keeps while it writes: keys and values of each act once, of each text as far as it goes.

The sequences of a row attend to their act together, by one product per row, instead of each to a copy of it.

B rows, N sequences of all rows, C the most sequences of a row, P prefix, T text, E width, H heads, D head width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aigc_models.embedding import FrozenEmbedding

TEXT_CHUNK = 16
"""Positions by which the texts' cache grows when it is full."""


@dataclass(frozen=True, slots=True)
class Acts:
    """What the sequences of a row share."""

    keys: Sequence[Tensor]
    """Of each layer [B, H, D, P]."""
    values: Sequence[Tensor]
    """Of each layer [B, H, P, D]."""
    hidden_BP: Tensor
    """0 where a position is visible, minus infinity where it is padding."""
    embedded_BPE: Tensor

    def select(self, rows: Tensor) -> "Acts":
        return Acts(
            [keys[rows] for keys in self.keys],
            [values[rows] for values in self.values],
            self.hidden_BP[rows],
            self.embedded_BPE[rows],
        )


class Groups:
    """Which sequences are of which row. In tensors by row, a row has as many places as the largest has sequences."""

    def __init__(self, row_N: Tensor, num_rows: int) -> None:
        counts_B = torch.bincount(row_N, minlength=num_rows)
        order_N = torch.argsort(row_N, stable=True)
        firsts_B = counts_B.cumsum(0) - counts_B
        counted_N = torch.arange(len(row_N), device=row_N.device)
        number_N = torch.empty_like(row_N)
        number_N[order_N] = counted_N - firsts_B[row_N[order_N]]
        self.row_N, self.num_rows = row_N, num_rows
        self.most = int(counts_B.max())
        self._place_N = row_N * self.most + number_N
        self._is_full = len(row_N) == num_rows * self.most and bool((self._place_N == counted_N).all())

    def by_row(self, x_N: Tensor) -> Tensor:
        """[N, ...] as [B, C, ...], with zeros where a row has fewer."""
        if not self._is_full:
            padded = x_N.new_zeros(self.num_rows * self.most, *x_N.shape[1:])
            padded[self._place_N] = x_N
            x_N = padded
        return x_N.unflatten(0, (self.num_rows, self.most))

    def by_sequence(self, x_BC: Tensor) -> Tensor:
        """The way back."""
        x_N = x_BC.flatten(0, 1)
        return x_N if self._is_full else x_N[self._place_N]


@dataclass(slots=True)
class GPTState:
    acts: Acts
    embedding: FrozenEmbedding
    groups: Groups
    prefix_NP: Tensor
    remaining_NP: Tensor
    """Of the prefix, what the text does not state yet."""
    keys: list[Tensor]
    """Of each layer [T, N, H, D], T what there is room for; empty before the first token."""
    values: list[Tensor]
    num_said: int = 0

    @classmethod
    def after_prefix(
        cls,
        prefix_BP: Tensor,
        visible_BP: Tensor,
        embedded_BPE: Tensor,
        cache: Sequence[tuple[Tensor, Tensor]],
        embedding: FrozenEmbedding,
    ) -> "GPTState":
        """One sequence a row. `cache`: keys and values [B, H, P, D] of each layer."""
        hidden_BP = torch.zeros(prefix_BP.shape, dtype=embedded_BPE.dtype, device=prefix_BP.device)
        hidden_BP.masked_fill_(~visible_BP, float("-inf"))
        keys = [k.transpose(2, 3).contiguous() for k, _ in cache]
        acts = Acts(keys, [v.contiguous() for _, v in cache], hidden_BP, embedded_BPE)
        groups = Groups(torch.arange(len(prefix_BP), device=prefix_BP.device), len(prefix_BP))
        return cls(acts, embedding, groups, prefix_BP, visible_BP, [], [])

    def select(self, sequences: Tensor) -> "GPTState":
        """The state of the given sequences, which may repeat."""
        kept, row_N = self.groups.row_N[sequences].unique(return_inverse=True)
        acts = self.acts if len(kept) == self.groups.num_rows else self.acts.select(kept)
        return GPTState(
            acts,
            self.embedding,
            Groups(row_N, len(kept)),
            self.prefix_NP[sequences],
            self.remaining_NP[sequences],
            [self._selected(keys, sequences) for keys in self.keys],
            [self._selected(values, sequences) for values in self.values],
            self.num_said,
        )

    def _selected(self, cache_TNHD: Tensor, sequences: Tensor) -> Tensor:
        room, _, *sizes = cache_TNHD.shape
        selected = cache_TNHD.new_empty(room, len(sequences), *sizes)
        torch.index_select(cache_TNHD[: self.num_said], 1, sequences, out=selected[: self.num_said])
        return selected

    def next_position(self) -> Tensor:
        """[1]: the same for all, since prefixes are padded on the left."""
        return torch.tensor([self.prefix_NP.shape[1] + self.num_said], device=self.prefix_NP.device)

    def grow(self) -> None:
        """Makes room for the keys and values of one more token."""
        if not self.keys:
            num_heads, width = self.acts.values[0].shape[1::2]
            shape = (0, len(self.prefix_NP), num_heads, width)
            self.keys = [values.new_empty(shape) for values in self.acts.values]
            self.values = [values.new_empty(shape) for values in self.acts.values]
        if self.num_said == len(self.keys[0]):
            self.keys, self.values = ([_with_room(cache) for cache in each] for each in (self.keys, self.values))
        self.num_said += 1

    def attend(self, layer: int, query_NHD: Tensor, key_NHD: Tensor, value_NHD: Tensor) -> Tensor:
        """softmax(QKᵀ/√d)V [N, H, D] over the row's act and the sequence's own text, this token included."""
        last, num_hidden = self.num_said - 1, self.acts.hidden_BP.shape[1]
        keys_TNHD, values_TNHD = self.keys[layer], self.values[layer]
        keys_TNHD[last], values_TNHD[last] = key_NHD, value_NHD
        query_NHD = query_NHD * query_NHD.shape[-1] ** -0.5
        query_BHCD = self.groups.by_row(query_NHD).transpose(1, 2)
        of_act_BHCP = query_BHCD @ self.acts.keys[layer] + self.acts.hidden_BP[:, None, None, :]
        of_act_NHP = self.groups.by_sequence(of_act_BHCP.transpose(1, 2))
        of_text_TNH = (keys_TNHD[: self.num_said] * query_NHD).sum(-1)
        weights = torch.softmax(torch.cat([of_act_NHP, of_text_TNH.permute(1, 2, 0)], dim=-1), dim=-1)
        act_BHCP = self.groups.by_row(weights[:, :, :num_hidden]).transpose(1, 2)
        mixed_NHD = self.groups.by_sequence((act_BHCP @ self.acts.values[layer]).transpose(1, 2))
        text_TNH1 = weights[:, :, num_hidden:].permute(2, 0, 1).unsqueeze(-1)
        return mixed_NHD + (values_TNHD[: self.num_said] * text_TNH1).sum(0)

    def mean_of_remaining(self) -> Tensor:
        """[N, E]: the mean embedding of what is not stated yet; zero where nothing is left."""
        weights_NP = self.remaining_NP.to(self.acts.embedded_BPE.dtype)
        sums_BCE = self.groups.by_row(weights_NP) @ self.acts.embedded_BPE
        return self.groups.by_sequence(sums_BCE) / weights_NP.sum(-1, keepdim=True).clamp(min=1.0)


def _with_room(cache_TNHD: Tensor) -> Tensor:
    num_positions, *sizes = cache_TNHD.shape
    larger = cache_TNHD.new_empty(num_positions + TEXT_CHUNK, *sizes)
    larger[:num_positions] = cache_TNHD
    return larger
