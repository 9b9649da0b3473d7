"""Softmax over all items, or over a sample that all positions of a batch share.

M positions to predict, E width, V items and special tokens, N sampled items.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from aigc_models.recommenders.networks import NUM_SPECIAL


def item_loss(states_ME: Tensor, targets_M: Tensor, table_VE: Tensor, num_negatives: int) -> Tensor:
    """Mean of -log softmax of the targets.

    Unless `num_negatives` is 0, the sum over all items is estimated from that many, drawn evenly
    from torch's global random state (Jean et al. 2015: logits minus the logarithm of how often an
    item is expected in the sample). Products are computed in bfloat16, sums in float32.
    """
    num_items = len(table_VE) - NUM_SPECIAL
    if not 0 < num_negatives < num_items:
        logits_MV = _products(states_ME, table_VE[NUM_SPECIAL:])
        return F.cross_entropy(logits_MV, targets_M - NUM_SPECIAL)
    sampled_N = torch.randint(NUM_SPECIAL, len(table_VE), (num_negatives,), device=table_VE.device)
    target_logits_M = (states_ME.float() * table_VE[targets_M].float()).sum(dim=1)
    correction = math.log((num_items - 1) / num_negatives)
    sampled_logits_MN = _products(states_ME, table_VE[sampled_N]) + correction
    # A sampled target would count twice.
    is_target_MN = sampled_N == targets_M[:, None]
    sampled_logits_MN = sampled_logits_MN.masked_fill(is_target_MN, float("-inf"))
    logits_MN = torch.cat([target_logits_M[:, None], sampled_logits_MN], dim=1)
    return (logits_MN.logsumexp(dim=1) - target_logits_M).mean()


def _products(states_ME: Tensor, items_NE: Tensor) -> Tensor:
    return (states_ME.bfloat16() @ items_NE.bfloat16().T).float()
