"""A bidirectional transformer encoder that predicts masked tokens (Devlin et al. 2019), modernised.

Rotary positions instead of learned ones, tied embeddings, no segments. Padding may be on either
side.

B batch, T positions, E model width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aigc_models.layers.transformer import STD, Transformer, TransformerConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class BERTConfig(TransformerConfig):
    vocab_size: int
    pad_id: int = 0

    def __post_init__(self) -> None:
        TransformerConfig.__post_init__(self)
        if not 0 <= self.pad_id < self.vocab_size:
            raise ValueError(f"pad_id must lie in a vocabulary of {self.vocab_size}")


class BERT(Transformer):
    def __init__(self, config: BERTConfig) -> None:
        super().__init__(config)
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        nn.init.normal_(self.embedding.weight, std=STD)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """States [B, T, E]; each position sees all tokens except padding."""
        is_token_BT = tokens_BT != self.config.pad_id
        states_BTE = self.trunk(self.embedding(tokens_BT), is_token_BT, is_causal=False)
        return states_BTE


def choose_masked(tokens_BT: Tensor, share: float, pad_id: int) -> Tensor:
    """Positions [B, T] to mask and predict, as booleans, drawn from torch's global random state.

    About `share` of the tokens, at least one in each row, never padding.
    """
    draws_BT = torch.rand(tokens_BT.shape, device=tokens_BT.device)
    draws_BT = draws_BT.masked_fill(tokens_BT == pad_id, 2.0)
    least_B1 = draws_BT.amin(dim=1, keepdim=True)
    return (draws_BT < share) | ((draws_BT == least_B1) & (draws_BT < 2.0))
