"""How good rankings are if one item is the right one, how diverse they are, and how popular their
items.

B rankings, K ranked items (0 if there are no more), N wrong items, V items and special tokens.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def ranks(ranked_BK: Tensor, answers_B: Tensor) -> Tensor:
    """Rank [B] of each answer, 1 for the first; 0 if it is not ranked or not an item."""
    hits_BK = (ranked_BK == answers_B[:, None]) & (ranked_BK > 0)
    ranks_K = torch.arange(1, ranked_BK.shape[1] + 1, device=ranked_BK.device)
    return (hits_BK * ranks_K).amax(dim=1)


def ranks_among(answer_scores_B: Tensor, other_scores_BN: Tensor) -> Tensor:
    """Rank [B] of each answer among itself and N others; ties rank before it."""
    return 1 + (other_scores_BN >= answer_scores_B[:, None]).sum(dim=1)


def hit_rate(ranks_B: Tensor, k: int) -> float:
    """HR@k: the share of answers among the first k."""
    return float(((ranks_B > 0) & (ranks_B <= k)).double().mean())


def ndcg(ranks_B: Tensor, k: int) -> float:
    """NDCG@k with one relevant item: the mean of 1 / log2(1 + rank), 0 beyond k (Järvelin and
    Kekäläinen 2002)."""
    gains_B = 1 / torch.log2(1 + ranks_B.double().clamp_min(1))
    return float((gains_B * ((ranks_B > 0) & (ranks_B <= k))).mean())


def coverage(ranked_BK: Tensor, num_items: int) -> float:
    """The share of all items that are recommended to anybody."""
    return len(ranked_BK[ranked_BK > 0].unique()) / num_items


def popularity_lift(
    ranked_BK: Tensor, histories: Sequence[np.ndarray], counts_V: np.ndarray
) -> float:
    """How much more popular recommended items are than those the same users chose: 0 for equally
    popular, 1 for twice as popular, by number of events.

    As Abdollahpouri et al. (2020), except that both are means over all users. 0 if nothing was
    chosen or recommended.
    """
    chosen = [counts_V[history].mean() for history in histories if len(history)]
    recommended = counts_V[ranked_BK[ranked_BK > 0].numpy()]
    if not chosen or not len(recommended):
        return 0.0
    return float(recommended.mean() / np.mean(chosen)) - 1
