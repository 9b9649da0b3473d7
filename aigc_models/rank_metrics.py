"""How good rankings are of which one item is the right one.

B rankings, K ranked items.
"""

import torch
from torch import Tensor


def ranks(ranked_BK: Tensor, answers_B: Tensor) -> Tensor:
    """Place [B] of each answer, 1 for the first; 0 where it is not ranked."""
    hits_BK = ranked_BK == answers_B[:, None]
    places = torch.arange(1, ranked_BK.shape[1] + 1, device=ranked_BK.device)
    return (hits_BK * places).amax(dim=1)


def hit_rate(ranks_B: Tensor, k: int) -> float:
    """HR@k: the share of answers among the first k."""
    return float(((ranks_B > 0) & (ranks_B <= k)).double().mean())


def ndcg(ranks_B: Tensor, k: int) -> float:
    """NDCG@k with one relevant item: the mean of 1 / log2(1 + rank), 0 beyond k (Järvelin and Kekäläinen 2002)."""
    gains_B = 1 / torch.log2(1 + ranks_B.double().clamp_min(1))
    return float((gains_B * ((ranks_B > 0) & (ranks_B <= k))).mean())
