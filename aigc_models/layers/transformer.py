"""Transformer layers: blocks of attention and a gated MLP, with relative positions.

Pre-normalisation by RMSNorm (Zhang and Sennrich 2019), rotary positions (Su et al. 2021), SwiGLU
(Shazeer 2020), no biases.

B batch, T positions, S positions attended to, E model width, H heads, D head width.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STD = 0.02
"""Standard deviation of initial weights (Radford et al. 2019)."""

Rotary = tuple[Tensor, Tensor]
"""Cosines and sines [T, D] of the angles of each position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerConfig:
    width: int = 128
    num_layers: int = 4
    num_heads: int = 4
    mlp_width: int = 344
    dropout: float = 0.1
    rotary_base: float = 10_000.0

    def __post_init__(self) -> None:
        sizes = (self.width, self.num_layers, self.num_heads, self.mlp_width)
        if min(sizes) < 1 or not 0 <= self.dropout < 1:
            raise ValueError("sizes must be positive and dropout in [0, 1)")
        if self.width % self.num_heads or self.head_width % 2:
            raise ValueError(
                f"width {self.width} must split into {self.num_heads} heads of an even width"
            )

    @property
    def head_width(self) -> int:
        return self.width // self.num_heads


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + ε) · g (Zhang and Sennrich 2019, eq. 4)."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x_BTE: Tensor) -> Tensor:
        return F.rms_norm(x_BTE, (x_BTE.shape[-1],), self.weight, self.eps)


class Attention(nn.Module):
    """softmax(QKᵀ/√D)V (Vaswani et al. 2017, eq. 1) with rotary positions on Q and K."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.dropout = config.dropout
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def project(self, x_BTE: Tensor, rotary: Rotary) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [B, H, T, D]."""
        qkv_B3HTD = self.qkv(x_BTE).unflatten(2, (3, self.num_heads, -1)).permute(0, 2, 3, 1, 4)
        q, k, v = qkv_B3HTD.unbind(1)
        return rotate(q, rotary), rotate(k, rotary), v

    def rotated_weights(self, rotary: Rotary) -> Tensor:
        """Weights [3E, E] that project inputs at one position to Q/√D, K and V.

        A rotation is linear, R(Wx) = (RW)x. When many inputs share a position it is cheaper to
        rotate the weights once than to rotate every query and key.
        """
        weights_E3HD = self.qkv.weight.t().unflatten(1, (3, self.num_heads, -1))
        rotated_E2HD = rotate(weights_E3HD[:, :2], rotary)
        rotated_E2HD[:, 0] *= rotated_E2HD.shape[-1] ** -0.5
        return torch.cat([rotated_E2HD, weights_E3HD[:, 2:]], dim=1).flatten(1).t()

    def attend(self, q_BHTD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, mask: Tensor) -> Tensor:
        """[B, T, E]; `mask` is true where a query attends."""
        dropout = self.dropout if self.training else 0.0
        mixed_BHTD = F.scaled_dot_product_attention(
            q_BHTD, k_BHSD, v_BHSD, attn_mask=mask, dropout_p=dropout
        )
        mixed_BTE: Tensor = self.out(mixed_BHTD.transpose(1, 2).flatten(2))
        return mixed_BTE


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width)
        self.attention = Attention(config)
        self.mlp_norm = RMSNorm(config.width)
        self.gate_up = nn.Linear(config.width, 2 * config.mlp_width, bias=False)
        self.down = nn.Linear(config.mlp_width, config.width, bias=False)
        self.drop = nn.Dropout(config.dropout)

    def mlp(self, x_BTE: Tensor) -> Tensor:
        """SwiGLU (Shazeer 2020, eq. 6)."""
        gate, up = self.gate_up(x_BTE).chunk(2, dim=-1)
        return self.drop(self.down(F.silu(gate) * up))

    def forward(self, x_BTE: Tensor, rotary: Rotary, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The next states, and the keys and values for a cache."""
        q, k, v = self.attention.project(self.attention_norm(x_BTE), rotary)
        x_BTE = x_BTE + self.drop(self.attention.attend(q, k, v, mask))
        return x_BTE + self.mlp(self.mlp_norm(x_BTE)), k, v


class Transformer(nn.Module):
    """Blocks over embeddings, which a subclass looks up."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.drop = nn.Dropout(config.dropout)
        self.blocks = make_blocks(config)
        self.norm = RMSNorm(config.width)
        self.head_width = config.head_width
        self.rotary_base = config.rotary_base
        initialise(self.blocks, config.num_layers)

    def compile(self, **options: Any) -> None:
        compile_blocks(self.blocks, **options)

    def trunk(self, x_BTE: Tensor, visible_BT: Tensor, *, is_causal: bool) -> Tensor:
        """States [B, T, E]. Each position sees the visible ones, if causal only up to itself."""
        mask = attention_mask(visible_BT, is_causal=is_causal)
        positions_T = torch.arange(x_BTE.shape[1], device=x_BTE.device)
        rotary = rotary_at(positions_T, self.head_width, self.rotary_base)
        x_BTE = self.drop(x_BTE)
        for block in self.blocks:
            x_BTE, _, _ = block(x_BTE, rotary, mask)
        states_BTE: Tensor = self.norm(x_BTE)
        return states_BTE


def make_blocks(config: TransformerConfig) -> Sequence[Block]:
    """An `nn.ModuleList`, typed by what it holds."""
    blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
    return cast("Sequence[Block]", blocks)


def compile_blocks(blocks: Sequence[Block], **options: Any) -> None:
    """Compiles the blocks only: they share one graph for all lengths, which takes seconds where a
    whole network takes minutes."""
    for block in blocks:
        block.compile(dynamic=True, **options)


def initialise(modules: Iterable[nn.Module], num_layers: int) -> None:
    """Draws all matrices; projections into the residual stream are scaled down by its depth
    (Radford et al. 2019, section 2.3)."""
    for module in modules:
        for name, weight in module.named_parameters():
            if weight.dim() > 1:
                is_residual = name.endswith(("out.weight", "down.weight"))
                std = STD / (2 * num_layers) ** 0.5 if is_residual else STD
                nn.init.normal_(weight, std=std)


def attention_mask(visible_BT: Tensor, *, is_causal: bool) -> Tensor:
    """[B, 1, T, T]: which positions each position sees."""
    num_positions, device = visible_BT.shape[1], visible_BT.device
    seen_TT = torch.ones(num_positions, num_positions, dtype=torch.bool, device=device)
    if is_causal:
        seen_TT = seen_TT.tril()
    # Padding sees itself, since a softmax over nothing is not a number.
    itself_TT = torch.eye(num_positions, dtype=torch.bool, device=device)
    return (seen_TT & visible_BT[:, None, None, :]) | itself_TT


def rotary_at(positions_T: Tensor, head_width: int, base: float) -> Rotary:
    """The angles m · base^(-2i/D) of positions m (Su et al. 2021, eq. 15)."""
    rates = base ** (-torch.arange(0, head_width, 2, device=positions_T.device) / head_width)
    angles_TD = torch.outer(positions_T.float(), rates).repeat(1, 2)
    return angles_TD.cos(), angles_TD.sin()


def rotate(x_BHTD: Tensor, rotary: Rotary) -> Tensor:
    """Turns each pair (x_i, x_{i+D/2}) by the angle of its position."""
    cos_TD, sin_TD = rotary
    first, second = x_BHTD.chunk(2, dim=-1)
    quarter_turn = torch.cat([-second, first], dim=-1)
    return x_BHTD * cos_TD.to(x_BHTD.dtype) + quarter_turn * sin_TD.to(x_BHTD.dtype)
