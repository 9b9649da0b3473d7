"""A decoder-only transformer that continues an act with a text (Radford et al. 2019), in its present-day form.

Pre-normalisation by RMSNorm (Zhang and Sennrich 2019), rotary positions (Su et al. 2021), SwiGLU (Shazeer 2020), tied
embeddings, no biases. Prefixes are padded on the left: rotary positions are relative, so padding moves nothing.

B batch, P prefix, T text, S all positions so far, E model width, H heads, D head width, V vocabulary.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aigc_models.coverage import Coverage
from aigc_models.embedding import TokenEmbedding

STD = 0.02
"""Of the first weights (Radford et al. 2019)."""
CACHE_CHUNK = 16
"""Positions by which a cache grows when it is full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GPTConfig:
    vocab_size: int
    num_parts: int = 0
    num_links: int = 0
    pad_id: int = 0
    end_id: int = 2
    width: int = 128
    num_layers: int = 4
    num_heads: int = 4
    mlp_width: int = 344
    dropout: float = 0.1
    rotary_base: float = 10_000.0

    def __post_init__(self) -> None:
        if self.width % self.num_heads or (self.width // self.num_heads) % 2:
            raise ValueError(f"width {self.width} must split into {self.num_heads} heads of an even width")
        if min(self.vocab_size, self.num_layers, self.num_heads, self.mlp_width) < 1 or not 0 <= self.dropout < 1:
            raise ValueError("sizes must be positive and dropout in [0, 1)")


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


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + ε) · g."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x_BTE: Tensor) -> Tensor:
        return F.rms_norm(x_BTE, (x_BTE.shape[-1],), self.weight, self.eps)


class Attention(nn.Module):
    """softmax(QKᵀ/√d)V (Vaswani et al. 2017) with rotary positions on Q and K."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.dropout = config.dropout
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def project(self, x_BTE: Tensor, rotary: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        qkv_B3HTD = self.qkv(x_BTE).unflatten(2, (3, self.num_heads, -1)).permute(0, 2, 3, 1, 4)
        q, k, v = qkv_B3HTD.unbind(1)
        return rotate(q, rotary), rotate(k, rotary), v

    def attend(self, q_BHTD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, mask: Tensor) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        mixed_BHTD = F.scaled_dot_product_attention(q_BHTD, k_BHSD, v_BHSD, attn_mask=mask, dropout_p=dropout)
        mixed_BTE: Tensor = self.out(mixed_BHTD.transpose(1, 2).flatten(2))
        return mixed_BTE


class Block(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width)
        self.attention = Attention(config)
        self.mlp_norm = RMSNorm(config.width)
        self.gate_up = nn.Linear(config.width, 2 * config.mlp_width, bias=False)
        self.down = nn.Linear(config.mlp_width, config.width, bias=False)
        self.drop = nn.Dropout(config.dropout)

    def mlp(self, x_BTE: Tensor) -> Tensor:
        gate, up = self.gate_up(x_BTE).chunk(2, dim=-1)
        return self.drop(self.down(F.silu(gate) * up))

    def forward(self, x_BTE: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Also returns the keys and values, for a cache."""
        q, k, v = self.attention.project(self.attention_norm(x_BTE), rotary)
        x_BTE = x_BTE + self.drop(self.attention.attend(q, k, v, mask))
        return x_BTE + self.mlp(self.mlp_norm(x_BTE)), k, v

    def step(self, x_BTE: Tensor, rotary: tuple[Tensor, Tensor], state: GPTState, layer: int, mask: Tensor) -> Tensor:
        """One further position, its key and value written into the state."""
        q, k, v = self.attention.project(self.attention_norm(x_BTE), rotary)
        end = state.num_positions
        keys, values = state.keys[layer], state.values[layer]
        keys[:, :, end - 1] = k[:, :, 0]
        values[:, :, end - 1] = v[:, :, 0]
        x_BTE = x_BTE + self.attention.attend(q, keys[:, :, :end], values[:, :, :end], mask)
        return x_BTE + self.mlp(self.mlp_norm(x_BTE))


class GPT(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = TokenEmbedding(config.vocab_size, config.num_parts, config.num_links, config.width, STD)
        self.coverage = Coverage(config.vocab_size, config.width, config.pad_id, config.end_id)
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.width)
        for name, weight in self.named_parameters():
            if weight.dim() > 1 and not name.startswith("coverage."):
                is_residual = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(weight, std=STD / (2 * config.num_layers) ** 0.5 if is_residual else STD)

    def forward(self, prefix_BP: Tensor, text_BT: Tensor) -> Tensor:
        """Logits [B, T+1, V] of each text token and of what follows the last; the prefix is padded on the left."""
        visible_BS = torch.cat([prefix_BP != self.config.pad_id, text_BT >= 0], dim=1)
        embedded_BSE = self.embedding(torch.cat([prefix_BP, text_BT], dim=1))
        remaining_BTP = self.coverage.remaining(prefix_BP, text_BT)
        first = prefix_BP.shape[1] - 1
        summary_BTE = self.coverage.summary(embedded_BSE[:, : first + 1], remaining_BTP)
        x_BSE, _ = self.trunk(embedded_BSE + F.pad(summary_BTE, (0, 0, first, 0)), visible_BS)
        return self.coverage.adjust(self.embedding.logits(x_BSE[:, first:]), prefix_BP, remaining_BTP)

    def trunk(self, x_BSE: Tensor, visible_BS: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        num_positions = x_BSE.shape[1]
        causal_SS = torch.ones(num_positions, num_positions, dtype=torch.bool, device=x_BSE.device).tril()
        # Padding sees itself, since a softmax over nothing is not a number.
        itself_SS = torch.eye(num_positions, dtype=torch.bool, device=x_BSE.device)
        mask = (causal_SS & visible_BS[:, None, None, :]) | itself_SS
        rotary = self.rotary(torch.arange(num_positions, device=x_BSE.device))
        x_BSE = self.drop(x_BSE)
        cache = []
        for block in self.blocks:
            x_BSE, keys, values = block(x_BSE, rotary, mask)
            cache.append((keys, values))
        return self.norm(x_BSE), cache

    def rotary(self, positions_T: Tensor) -> tuple[Tensor, Tensor]:
        width = self.config.width // self.config.num_heads
        rates = self.config.rotary_base ** (-torch.arange(0, width, 2, device=positions_T.device) / width)
        angles_TD = torch.outer(positions_T.float(), rates).repeat(1, 2)
        return angles_TD.cos(), angles_TD.sin()

    def start(self, prefix_BP: Tensor) -> tuple[Tensor, GPTState]:
        """Logits [B, V] of the first text token, and the state to go on from."""
        visible_BP = prefix_BP != self.config.pad_id
        act_BPE = self.embedding(prefix_BP)
        summary_B1E = self.coverage.summary(act_BPE, visible_BP[:, None])
        x_BPE, cache = self.trunk(act_BPE + F.pad(summary_B1E, (0, 0, prefix_BP.shape[1] - 1, 0)), visible_BP)
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
            x_BTE = block.step(x_BTE, rotary, state, layer, mask)
        return self.state_logits(self.norm(x_BTE[:, 0]), state), state


def rotate(x_BHTD: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Turns each pair (x_i, x_{i+D/2}) by the angle of its position."""
    cos_TD, sin_TD = rotary
    first, second = x_BHTD.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return x_BHTD * cos_TD.to(x_BHTD.dtype) + turned * sin_TD.to(x_BHTD.dtype)
