"""A bidirectional transformer encoder that fills in what is masked (Devlin et al. 2019), in its
present-day form.

Rotary positions instead of learned ones, tied embeddings, no segments. Padding may stand on either
side.

B batch, T positions, E model width, V vocabulary, M masked positions of the batch.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aigc_models.layers.transformer import STD, Transformer, TransformerConfig

MASK_SHARE, RANDOM_SHARE = 0.8, 0.1
"""Of the chosen positions: shown as the mask, shown as another token; the others are shown as they
are (Devlin et al. 2019, section 3.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BERTConfig(TransformerConfig):
    vocab_size: int
    pad_id: int = 0
    mask_id: int = 1

    def __post_init__(self) -> None:
        TransformerConfig.__post_init__(self)
        if not 0 <= self.pad_id < self.vocab_size or not 0 <= self.mask_id < self.vocab_size:
            raise ValueError(f"pad_id and mask_id must lie in a vocabulary of {self.vocab_size}")
        if self.pad_id == self.mask_id:
            raise ValueError("pad_id and mask_id must differ")


class BERT(Transformer):
    def __init__(self, config: BERTConfig) -> None:
        super().__init__(config)
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        nn.init.normal_(self.embedding.weight, std=STD)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """States [B, T, E]; each position sees all that are not padding."""
        states_BTE = self.trunk(
            self.embedding(tokens_BT), tokens_BT != self.config.pad_id, is_causal=False
        )
        return states_BTE

    def logits(self, states: Tensor) -> Tensor:
        """Of each token of the vocabulary: [..., E] to [..., V]."""
        return F.linear(states, self.embedding.weight)


def choose(tokens_BT: Tensor, share: float, pad_id: int) -> Tensor:
    """Positions [B, T] to be learned: about `share` of those that are no padding, at least one of
    each row that has any; from torch's global random state."""
    draws_BT = torch.rand(tokens_BT.shape, device=tokens_BT.device).masked_fill(
        tokens_BT == pad_id, 2.0
    )
    least_B1 = draws_BT.amin(dim=1, keepdim=True)
    return (draws_BT < share) | ((draws_BT == least_B1) & (draws_BT < 2.0))


def corrupt(tokens_BT: Tensor, chosen_BT: Tensor, config: BERTConfig) -> Tensor:
    """Tokens as BERT sees them: of the chosen ones 80 % masked, 10 % replaced by a random token, 10
    % as they are."""
    draws_BT = torch.rand(tokens_BT.shape, device=tokens_BT.device)
    random_BT = torch.randint_like(
        tokens_BT, max(config.pad_id, config.mask_id) + 1, config.vocab_size
    )
    corrupted_BT = tokens_BT.masked_fill(chosen_BT & (draws_BT < MASK_SHARE), config.mask_id)
    is_random_BT = chosen_BT & (draws_BT >= MASK_SHARE) & (draws_BT < MASK_SHARE + RANDOM_SHARE)
    return torch.where(is_random_BT, random_BT, corrupted_BT)


def masked_loss(network: BERT, tokens_BT: Tensor, share: float) -> tuple[Tensor, int]:
    """Mean cross-entropy of what stood at the chosen positions, and their number M (Devlin et al.
    2019)."""
    chosen_BT = choose(tokens_BT, share, network.config.pad_id)
    states_BTE = network(corrupt(tokens_BT, chosen_BT, network.config))
    logits_MV = network.logits(states_BTE[chosen_BT])
    return F.cross_entropy(logits_MV.float(), tokens_BT[chosen_BT]), int(chosen_BT.sum())
