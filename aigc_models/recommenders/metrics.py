"""How good rankings are of which one item is the right one, and what else they are like.

B rankings, K ranked items (0 where there are no more), N items that are wrong, V items and special
tokens.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def ranks(ranked_BK: Tensor, answers_B: Tensor) -> Tensor:
    """Place [B] of each answer, 1 for the first; 0 where it is not ranked, or is none that a
    ranking could have."""
    hits_BK = (ranked_BK == answers_B[:, None]) & (ranked_BK > 0)
    places = torch.arange(1, ranked_BK.shape[1] + 1, device=ranked_BK.device)
    return (hits_BK * places).amax(dim=1)


def ranks_among(answer_scores_B: Tensor, other_scores_BN: Tensor) -> Tensor:
    """Place [B] of each answer among itself and N others, after those of the same score."""
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
    """How much more popular, by events, recommended items are than those that the same users chose:
    0 for alike, 1 for twice as popular (Abdollahpouri et al. 2020, but of the means of all users).
    0 where nobody chose anything."""
    chosen = [counts_V[history].mean() for history in histories if len(history)]
    recommended = counts_V[ranked_BK[ranked_BK > 0].numpy()]
    return float(recommended.mean() / np.mean(chosen)) - 1 if chosen and len(recommended) else 0.0
