"""What transformers share: blocks of attention and a gated MLP, with relative positions.

Pre-normalisation by RMSNorm (Zhang and Sennrich 2019), rotary positions (Su et al. 2021), SwiGLU
(Shazeer 2020), no biases.

B batch, T positions, S positions so far, E model width, H heads, D head width.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STD = 0.02
"""Of the first weights (Radford et al. 2019)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerConfig:
    width: int = 128
    num_layers: int = 4
    num_heads: int = 4
    mlp_width: int = 344
    dropout: float = 0.1
    rotary_base: float = 10_000.0

    def __post_init__(self) -> None:
        if (
            min(self.width, self.num_layers, self.num_heads, self.mlp_width) < 1
            or not 0 <= self.dropout < 1
        ):
            raise ValueError("sizes must be positive and dropout in [0, 1)")
        if self.width % self.num_heads or (self.width // self.num_heads) % 2:
            raise ValueError(
                f"width {self.width} must split into {self.num_heads} heads of an even width"
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

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.dropout = config.dropout
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def project(
        self, x_BTE: Tensor, rotary: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        qkv_B3HTD = self.qkv(x_BTE).unflatten(2, (3, self.num_heads, -1)).permute(0, 2, 3, 1, 4)
        q, k, v = qkv_B3HTD.unbind(1)
        return rotate(q, rotary), rotate(k, rotary), v

    def turned(self, rotary: tuple[Tensor, Tensor]) -> Tensor:
        """Weights [3E, E] that make of states at one position what `project` does, queries divided
        by √d besides."""
        qkv_E3HD = self.qkv.weight.t().unflatten(1, (3, self.num_heads, -1))
        turned_E2HD = rotate(qkv_E3HD[:, :2], rotary)
        turned_E2HD[:, 0] *= turned_E2HD.shape[-1] ** -0.5
        return torch.cat([turned_E2HD, qkv_E3HD[:, 2:]], dim=1).flatten(1).t()

    def attend(self, q_BHTD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, mask: Tensor) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        mixed_BHTD = F.scaled_dot_product_attention(
            q_BHTD, k_BHSD, v_BHSD, attn_mask=mask, dropout_p=dropout
        )
        mixed_BTE: Tensor = self.out(mixed_BHTD.transpose(1, 2).flatten(2))
        return mixed_BTE


class Block(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
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

    def forward(
        self, x_BTE: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Also returns the keys and values, for a cache."""
        q, k, v = self.attention.project(self.attention_norm(x_BTE), rotary)
        x_BTE = x_BTE + self.drop(self.attention.attend(q, k, v, mask))
        return x_BTE + self.mlp(self.mlp_norm(x_BTE)), k, v


class Transformer(nn.Module):
    """Blocks above embeddings that a subclass makes."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.embed(config)
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.width)
        self.head_width, self.rotary_base = config.width // config.num_heads, config.rotary_base
        for name, weight in self.named_parameters():
            if weight.dim() > 1 and not name.startswith("coverage."):
                is_residual = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(
                    weight, std=STD / (2 * config.num_layers) ** 0.5 if is_residual else STD
                )

    def embed(self, config: Any) -> None:
        """Makes what a subclass has before its blocks; called first, so that it comes first in the
        random numbers."""

    def compile(self, **options: Any) -> None:
        """Compiles the blocks, which share one graph for all lengths: seconds instead of
        minutes."""
        for block in self.blocks:
            block.compile(dynamic=True, **options)

    def trunk(
        self, x_BSE: Tensor, visible_BS: Tensor, *, is_causal: bool
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """States [B, S, E], and the keys and values of each block. Each position sees the visible
        ones, if causal those up to itself."""
        num_positions = x_BSE.shape[1]
        seen_SS = torch.ones(num_positions, num_positions, dtype=torch.bool, device=x_BSE.device)
        seen_SS = seen_SS.tril() if is_causal else seen_SS
        # Padding sees itself, since a softmax over nothing is not a number.
        itself_SS = torch.eye(num_positions, dtype=torch.bool, device=x_BSE.device)
        mask = (seen_SS & visible_BS[:, None, None, :]) | itself_SS
        rotary = self.rotary(torch.arange(num_positions, device=x_BSE.device))
        x_BSE = self.drop(x_BSE)
        cache = []
        for block in self.blocks:
            x_BSE, keys, values = block(x_BSE, rotary, mask)
            cache.append((keys, values))
        return self.norm(x_BSE), cache

    def rotary(self, positions_T: Tensor) -> tuple[Tensor, Tensor]:
        rates = self.rotary_base ** (
            -torch.arange(0, self.head_width, 2, device=positions_T.device) / self.head_width
        )
        angles_TD = torch.outer(positions_T.float(), rates).repeat(1, 2)
        return angles_TD.cos(), angles_TD.sin()


def rotate(x_BHTD: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Turns each pair (x_i, x_{i+D/2}) by the angle of its position."""
    cos_TD, sin_TD = rotary
    first, second = x_BHTD.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return x_BHTD * cos_TD.to(x_BHTD.dtype) + turned * sin_TD.to(x_BHTD.dtype)
