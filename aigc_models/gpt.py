"""A decoder-only transformer that continues an act with a text (Radford et al. 2019), in its present-day form.

Tied embeddings. Prefixes are padded on the left: rotary positions are relative, so padding moves nothing.

B batch, P prefix, T text, S all positions so far, E model width, V vocabulary.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from aigc_models.coverage import Coverage
from aigc_models.embedding import TokenEmbedding
from aigc_models.transformer import STD, Block, Transformer, TransformerConfig

CACHE_CHUNK = 16
"""Positions by which a cache grows when it is full."""


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


@dataclass(slots=True)
class GPTState:
    """Keys and values of the positions so far, and which of them are padding."""

    keys: list[Tensor]
    values: list[Tensor]
    visible_BS: Tensor
    num_positions: int
    prefix_BP: Tensor
    act_BPE: Tensor
    remaining_BP: Tensor
    """Of the prefix, what the text does not state yet."""

    def select(self, rows: Tensor) -> "GPTState":
        """The state of the given rows, which may repeat."""
        return GPTState(
            [keys[rows] for keys in self.keys],
            [values[rows] for values in self.values],
            self.visible_BS[rows],
            self.num_positions,
            self.prefix_BP[rows],
            self.act_BPE[rows],
            self.remaining_BP[rows],
        )


class GPT(Transformer):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__(config)
        self.config = config

    def embed(self, config: GPTConfig) -> None:
        self.embedding = TokenEmbedding(config.vocab_size, config.num_parts, config.num_links, config.width, STD)
        self.coverage = Coverage(config.vocab_size, config.width, config.pad_id, config.end_id)

    def forward(self, prefix_BP: Tensor, text_BT: Tensor) -> Tensor:
        """Logits [B, T+1, V] of each text token and of what follows the last; the prefix is padded on the left."""
        visible_BS = torch.cat([prefix_BP != self.config.pad_id, text_BT >= 0], dim=1)
        embedded_BSE = self.embedding(torch.cat([prefix_BP, text_BT], dim=1))
        remaining_BTP = self.coverage.remaining(prefix_BP, text_BT)
        first = prefix_BP.shape[1] - 1
        summary_BTE = self.coverage.summary(embedded_BSE[:, : first + 1], remaining_BTP)
        x_BSE, _ = self.trunk(embedded_BSE + F.pad(summary_BTE, (0, 0, first, 0)), visible_BS, is_causal=True)
        return self.coverage.adjust(self.embedding.logits(x_BSE[:, first:]), prefix_BP, remaining_BTP)

    def start(self, prefix_BP: Tensor) -> tuple[Tensor, GPTState]:
        """Logits [B, V] of the first text token, and the state to go on from."""
        visible_BP = prefix_BP != self.config.pad_id
        act_BPE = self.embedding(prefix_BP)
        summary_B1E = self.coverage.summary(act_BPE, visible_BP[:, None])
        summed_BPE = act_BPE + F.pad(summary_B1E, (0, 0, prefix_BP.shape[1] - 1, 0))
        x_BPE, cache = self.trunk(summed_BPE, visible_BP, is_causal=True)
        keys, values = [k for k, _ in cache], [v for _, v in cache]
        state = GPTState(keys, values, visible_BP, prefix_BP.shape[1], prefix_BP, act_BPE, visible_BP)
        return self.state_logits(x_BPE[:, -1], state), state

    def state_logits(self, x_BE: Tensor, state: GPTState) -> Tensor:
        logits_B1V = self.embedding.logits(x_BE)[:, None]
        return self.coverage.adjust(logits_B1V, state.prefix_BP, state.remaining_BP[:, None])[:, 0]

    def step(self, tokens_B: Tensor, state: GPTState) -> tuple[Tensor, GPTState]:
        """Logits [B, V] of what follows the given tokens. Writes into `state` and returns it grown by a position."""
        if state.num_positions == state.keys[0].shape[2]:
            state.keys = [F.pad(keys, (0, 0, 0, CACHE_CHUNK)) for keys in state.keys]
            state.values = [F.pad(values, (0, 0, 0, CACHE_CHUNK)) for values in state.values]
        state.visible_BS = F.pad(state.visible_BS, (0, 1), value=True)
        state.num_positions += 1
        rotary = self.rotary(torch.tensor([state.num_positions - 1], device=tokens_B.device))
        state.remaining_BP = state.remaining_BP & ~self.coverage.says(state.prefix_BP, tokens_B[:, None])[:, 0]
        summary_B1E = self.coverage.summary(state.act_BPE, state.remaining_BP[:, None])
        x_BTE = self.embedding(tokens_B)[:, None] + summary_B1E
        mask = state.visible_BS[:, None, None, :]
        for layer, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            x_BTE = block.step(x_BTE, rotary, state.keys[layer], state.values[layer], state.num_positions, mask)
        return self.state_logits(self.norm(x_BTE[:, 0]), state), state
