"""A decoder-only transformer that continues an act with a text (Radford et al. 2019), with rotary
positions, RMSNorm, SwiGLU and tied embeddings.

Prefixes are padded on the left: rotary positions are relative, so padding changes nothing.

Decoding caches keys and values in one table per layer, of which every branch lists its own rows.
Branches form a tree, and a position that several branches share is stored once. So branches split
and end without copies (paged attention, Kwon et al. 2023, with pages of one position).

B batch, N branches, P prefix, T text, S positions so far, E model width, H heads, D head width,
V vocabulary, R rows of a table: one for each head and position.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aigc_models.layers.transformer import (
    STD,
    RMSNorm,
    TransformerConfig,
    attention_mask,
    compile_blocks,
    initialise,
    make_blocks,
    rotary_at,
)
from aigc_models.text.networks.coverage import Coverage
from aigc_models.text.networks.embedding import FrozenEmbedding, TokenEmbedding
from aigc_models.text.networks.row_attention import attention_scores, weighted_values

GROWTH = 2
"""A full table is replaced by one this many times as long as its rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GPTConfig(TransformerConfig):
    vocab_size: int
    num_parts: int = 0
    num_links: int = 0
    pad_id: int = 0
    end_id: int = 2

    def __post_init__(self) -> None:
        TransformerConfig.__post_init__(self)
        if self.vocab_size < 1:
            raise ValueError("vocab_size must be positive")


class GPT(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = TokenEmbedding(
            config.vocab_size, config.num_parts, config.num_links, config.width, STD
        )
        self.coverage = Coverage(config.vocab_size, config.width, config.pad_id, config.end_id)
        self.drop = nn.Dropout(config.dropout)
        self.blocks = make_blocks(config)
        self.norm = RMSNorm(config.width)
        initialise([self.embedding, *self.blocks], config.num_layers)

    def compile(self, **options: Any) -> None:
        compile_blocks(self.blocks, **options)

    def forward(self, prefix_BP: Tensor, text_BT: Tensor) -> Tensor:
        """Logits [B, T+1, V] of each text token and of what follows the last; the prefix is padded
        on the left."""
        num_prefix = prefix_BP.shape[1]
        embedded_BSE = self.embedding(torch.cat([prefix_BP, text_BT], dim=1))
        visible_BS = torch.cat([prefix_BP != self.config.pad_id, text_BT >= 0], dim=1)
        # Positions that predict text, from the last of the prefix on, also read what remains.
        remaining_BTP = self.coverage.remaining(prefix_BP, text_BT)
        summary_BTE = self.coverage.summary(embedded_BSE[:, :num_prefix], remaining_BTP)
        x_BSE = embedded_BSE + F.pad(summary_BTE, (0, 0, num_prefix - 1, 0))
        mask = attention_mask(visible_BS, is_causal=True)
        rotary = self.rotary(torch.arange(x_BSE.shape[1], device=x_BSE.device))
        x_BSE = self.drop(x_BSE)
        for block in self.blocks:
            x_BSE, _, _ = block(x_BSE, rotary, mask)
        logits_BTV = self.embedding.logits(self.norm(x_BSE)[:, num_prefix - 1 :])
        return self.coverage.adjust(logits_BTV, prefix_BP, remaining_BTP)

    def start(self, prefix_BP: Tensor) -> tuple[Tensor, "GPTState"]:
        """Logits [B, V] of the first text token, and the state to decode from."""
        num_prefix = prefix_BP.shape[1]
        embedding = self.embedding.frozen()
        act_BPE = embedding(prefix_BP)
        visible_BP = prefix_BP != self.config.pad_id
        # Nothing is stated yet: all of the act remains.
        summary_B1E = self.coverage.summary(act_BPE, visible_BP[:, None])
        x_BPE = act_BPE + F.pad(summary_B1E, (0, 0, num_prefix - 1, 0))
        mask = attention_mask(visible_BP, is_causal=True)
        rotary = self.rotary(torch.arange(num_prefix, device=x_BPE.device))
        x_BPE = self.drop(x_BPE)
        cache = []
        for block in self.blocks:
            x_BPE, keys_BHPD, values_BHPD = block(x_BPE, rotary, mask)
            cache.append((keys_BHPD, values_BHPD))
        state = GPTState.after_prefix(prefix_BP, visible_BP, cache, embedding)
        return self.next_logits(self.norm(x_BPE)[:, -1], state), state

    def step(self, tokens_N: Tensor, state: "GPTState") -> Tensor:
        """Logits [N, V] of what follows these tokens, one per branch. Appends them to `state`."""
        stated_NP = self.coverage.stated_by(state.prefix_NP, tokens_N[:, None])[:, 0]
        state.remaining_NP = state.remaining_NP & ~stated_NP
        x_NE = state.embedding(tokens_N) + self.coverage.project(state.mean_of_remaining())
        rotary = self.rotary(torch.tensor([state.num_positions], device=x_NE.device))
        state.add_position()
        for layer, block in enumerate(self.blocks):
            attention = block.attention
            weights = attention.rotated_weights(rotary)
            qkv_NE = F.linear(block.attention_norm(x_NE), weights)
            q, k, v = qkv_NE.unflatten(1, (3, attention.num_heads, -1)).unbind(1)
            x_NE = x_NE + attention.out(state.attend(layer, q, k, v).flatten(1))
            x_NE = x_NE + block.mlp(block.mlp_norm(x_NE))
        return self.next_logits(self.norm(x_NE), state)

    def next_logits(self, x_NE: Tensor, state: "GPTState") -> Tensor:
        """Logits [N, V] from the last states of the branches."""
        logits_N1V = state.embedding.logits(x_NE)[:, None]
        return self.coverage.adjust(logits_N1V, state.prefix_NP, state.remaining_NP[:, None])[:, 0]

    def rotary(self, positions_T: Tensor) -> tuple[Tensor, Tensor]:
        return rotary_at(positions_T, self.config.head_width, self.config.rotary_base)


@dataclass(slots=True)
class GPTState:
    """What decoding keeps: the keys and values of all positions so far, and what remains of each
    branch's act."""

    embedding: FrozenEmbedding
    prefix_NP: Tensor
    remaining_NP: Tensor
    """Positions of the prefix that the text does not state yet."""
    hidden_NP: Tensor
    """Added to attention scores: 0 where the prefix is visible, minus infinity where it is
    padding."""
    rows_NHS: Tensor
    """Where each branch's positions lie in the tables."""
    keys: list["GrowingTable"]
    values: list["GrowingTable"]

    @classmethod
    def after_prefix(
        cls,
        prefix_NP: Tensor,
        visible_NP: Tensor,
        cache: Sequence[tuple[Tensor, Tensor]],
        embedding: FrozenEmbedding,
    ) -> "GPTState":
        """`cache`: keys and values [N, H, P, D] of each layer."""
        keys = [GrowingTable(keys_NHPD.flatten(0, 2)) for keys_NHPD, _ in cache]
        values = [GrowingTable(values_NHPD.flatten(0, 2)) for _, values_NHPD in cache]
        first_NHPD, _ = cache[0]
        rows_NHP = torch.arange(len(keys[0]), device=prefix_NP.device).view(first_NHPD.shape[:3])
        hidden_NP = torch.where(visible_NP, 0.0, float("-inf")).to(first_NHPD.dtype)
        return cls(embedding, prefix_NP, visible_NP, hidden_NP, rows_NHP, keys, values)

    def reorder(self, branches_N: Tensor) -> None:
        """Replaces the branches by those at the given indices, which may repeat. Keys and values
        stay where they are."""
        self.prefix_NP = self.prefix_NP[branches_N]
        self.remaining_NP = self.remaining_NP[branches_N]
        self.hidden_NP = self.hidden_NP[branches_N]
        self.rows_NHS = self.rows_NHS[branches_N]

    @property
    def num_positions(self) -> int:
        """Padding included, so it is the same for all branches."""
        return self.rows_NHS.shape[2]

    def add_position(self) -> None:
        """Reserves a row of the tables for each branch's and head's next position."""
        num_branches, num_heads, _ = self.rows_NHS.shape
        first = len(self.keys[0])
        end = first + num_branches * num_heads
        new_R = torch.arange(first, end, device=self.rows_NHS.device)
        new_NH1 = new_R.view(num_branches, num_heads, 1)
        self.rows_NHS = torch.cat([self.rows_NHS, new_NH1], dim=2)

    def attend(self, layer: int, query_NHD: Tensor, key_NHD: Tensor, value_NHD: Tensor) -> Tensor:
        """softmax(QKᵀ)V [N, H, D] over the earlier positions and this one, whose key and value are
        appended."""
        keys_RD = self.keys[layer].append(key_NHD.flatten(0, 1))
        values_RD = self.values[layer].append(value_NHD.flatten(0, 1))
        scores_NHS = attention_scores(query_NHD, keys_RD, self.rows_NHS)
        scores_NHS[:, :, : self.hidden_NP.shape[1]] += self.hidden_NP[:, None]
        return weighted_values(torch.softmax(scores_NHS, dim=-1), values_RD, self.rows_NHS)

    def mean_of_remaining(self) -> Tensor:
        """[N, E]: the mean embedding of what is not stated yet; zero if nothing is left."""
        weights_NP = self.remaining_NP.to(self.hidden_NP.dtype)
        sums_NE = self.embedding.weighted_sums(self.prefix_NP, weights_NP)
        return sums_NE / weights_NP.sum(-1, keepdim=True).clamp(min=1.0)


class GrowingTable:
    """Rows [R, D] at the start of a tensor that has room for more."""

    def __init__(self, rows_RD: Tensor) -> None:
        self._room = rows_RD
        self._num_rows = len(rows_RD)

    def __len__(self) -> int:
        return self._num_rows

    def append(self, rows_RD: Tensor) -> Tensor:
        """Adds rows and returns all there are, as a view."""
        first = self._num_rows
        self._num_rows += len(rows_RD)
        if self._num_rows > len(self._room):
            room = self._room.new_empty(GROWTH * self._num_rows, self._room.shape[1])
            room[:first] = self._room[:first]
            self._room = room
        self._room[first : self._num_rows] = rows_RD
        return self._room[: self._num_rows]
