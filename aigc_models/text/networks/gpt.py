"""A decoder-only transformer that continues an act with a text (Radford et al. 2019), in its
present-day form.

Tied embeddings. Prefixes are padded on the left: rotary positions are relative, so padding moves
nothing.

B batch, N sequences of all rows, P prefix, T text, S all positions so far, E model width, H heads,
D head width, V vocabulary.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from aigc_models.layers.transformer import STD, Block, Transformer, TransformerConfig
from aigc_models.text.networks.coverage import Coverage
from aigc_models.text.networks.embedding import TokenEmbedding
from aigc_models.text.networks.gpt_state import GPTState


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


class GPT(Transformer):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__(config)
        self.config = config

    def embed(self, config: GPTConfig) -> None:
        self.embedding = TokenEmbedding(
            config.vocab_size, config.num_parts, config.num_links, config.width, STD
        )
        self.coverage = Coverage(config.vocab_size, config.width, config.pad_id, config.end_id)

    def forward(self, prefix_BP: Tensor, text_BT: Tensor) -> Tensor:
        """Logits [B, T+1, V] of each text token and of what follows the last; the prefix is padded
        on the left."""
        visible_BS = torch.cat([prefix_BP != self.config.pad_id, text_BT >= 0], dim=1)
        embedded_BSE = self.embedding(torch.cat([prefix_BP, text_BT], dim=1))
        remaining_BTP = self.coverage.remaining(prefix_BP, text_BT)
        first = prefix_BP.shape[1] - 1
        summary_BTE = self.coverage.summary(embedded_BSE[:, : first + 1], remaining_BTP)
        x_BSE, _ = self.trunk(
            embedded_BSE + F.pad(summary_BTE, (0, 0, first, 0)), visible_BS, is_causal=True
        )
        return self.coverage.adjust(
            self.embedding.logits(x_BSE[:, first:]), prefix_BP, remaining_BTP
        )

    def start(self, prefix_BP: Tensor) -> tuple[Tensor, GPTState]:
        """Logits [B, V] of the first text token, and the state to go on from."""
        visible_BP = prefix_BP != self.config.pad_id
        embedding = self.embedding.frozen()
        act_BPE = embedding(prefix_BP)
        summary_B1E = self.coverage.summary(act_BPE, visible_BP[:, None])
        summed_BPE = act_BPE + F.pad(summary_B1E, (0, 0, prefix_BP.shape[1] - 1, 0))
        x_BPE, cache = self.trunk(summed_BPE, visible_BP, is_causal=True)
        state = GPTState.after_prefix(prefix_BP, visible_BP, cache, embedding)
        return self.state_logits(x_BPE[:, -1], state), state

    def state_logits(self, x_NE: Tensor, state: GPTState) -> Tensor:
        logits_N1V = state.embedding.logits(x_NE)[:, None]
        return self.coverage.adjust(logits_N1V, state.prefix_NP, state.remaining_NP[:, None])[:, 0]

    def step(self, tokens_N: Tensor, state: GPTState) -> tuple[Tensor, GPTState]:
        """Logits [N, V] of what follows the given tokens. Writes into `state` and returns it grown
        by a position."""
        state.remaining_NP &= ~self.coverage.says(state.prefix_NP, tokens_N[:, None])[:, 0]
        x_NE = state.embedding(tokens_N) + self.coverage.project(state.mean_of_remaining())
        rotary = self.rotary(torch.tensor([state.position], device=x_NE.device))
        state.go_on()
        for layer, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            qkv_NE = F.linear(block.attention_norm(x_NE), block.attention.turned(rotary))
            qkv_N3HD = qkv_NE.unflatten(1, (3, block.attention.num_heads, -1))
            x_NE = x_NE + block.attention.out(state.attend(layer, *qkv_N3HD.unbind(1)).flatten(1))
            x_NE = x_NE + block.mlp(block.mlp_norm(x_NE))
        return self.state_logits(self.norm(x_NE), state), state
