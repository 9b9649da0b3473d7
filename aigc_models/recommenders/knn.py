"""Item-kNN as a recommender: items that the same users take soon after one another (Sarwar et al.
2001).

s(i, j) = Σ w / ((n_i + λ)^p (n_j + λ)^p), summed over the places of i and j in users' histories.
The weight w is larger the closer the places are, and larger if j comes after i; n counts events. An
item's score is the sum over the history's items, of which newer ones weigh more. Fitting takes
seconds, so this is the baseline that a network has to beat.

V items and special tokens, N neighbours, B batch, T places of a history, K items, P pairs.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from aigc_models.recommenders.data import Sequences, left_padded
from aigc_models.recommenders.networks import NUM_SPECIAL

MAX_GAP = 20
"""The largest distance between two places of a history that count as a pair."""
BACKWARD = 0.3
"""The weight of a pair in reverse order, relative to one in order."""
SHRINKAGE, POWER = 20.0, 0.3
"""λ and p: with a smaller λ, items of a single user rank first; with a larger p, popular items are
lost."""
RECENCY = 0.7
"""The weight of an item of a history, relative to that of the next one."""
MAX_READ = 20
"""The newest items of a history that count: older ones would weigh almost nothing."""


class ItemKNN:
    def __init__(self, neighbours_VN: Tensor, similarities_VN: Tensor) -> None:
        """`neighbours_VN`: tokens, the nearest first; 0, with similarity 0, if there are no
        more."""
        self.neighbours_VN = neighbours_VN
        self.similarities_VN = similarities_VN

    @classmethod
    def fit(
        cls,
        sequences: Sequences,
        vocab_size: int,
        *,
        num_neighbours: int = 200,
        device: torch.device | None = None,
    ) -> "ItemKNN":
        first_P, second_P, weights_P = weighted_pairs(sequences, vocab_size)
        scale_V = (np.bincount(sequences.tokens_N, minlength=vocab_size) + SHRINKAGE) ** POWER
        similarities_P = weights_P / (scale_V[first_P] * scale_V[second_P])
        # By first item, then by falling similarity; lexsort's last key is the first one to sort by.
        order = np.lexsort((second_P, -similarities_P, first_P))
        first_P = first_P[order]
        second_P = second_P[order]
        similarities_P = similarities_P[order]
        place_P = np.arange(len(first_P)) - np.searchsorted(first_P, first_P)
        is_near_P = place_P < num_neighbours
        target = (first_P[is_near_P], place_P[is_near_P])
        neighbours_VN = np.zeros((vocab_size, num_neighbours), dtype=np.int32)
        similarities_VN = np.zeros((vocab_size, num_neighbours), dtype=np.float32)
        neighbours_VN[target] = second_P[is_near_P]
        similarities_VN[target] = similarities_P[is_near_P]
        return cls(
            torch.from_numpy(neighbours_VN).to(device), torch.from_numpy(similarities_VN).to(device)
        )

    def scores(self, histories: Sequence[np.ndarray]) -> Tensor:
        """Scores [B, V] on the device of the neighbours; 0 for items near none of the history."""
        device = self.neighbours_VN.device
        read_BT = left_padded([history[-MAX_READ:] for history in histories]).to(device)
        weighted_BTN = self.similarities_VN[read_BT] * recency(read_BT)[:, None]
        neighbours_BTN = self.neighbours_VN[read_BT].long()
        scores_BV = torch.zeros(len(histories), len(self.neighbours_VN), device=device)
        scores_BV.scatter_add_(1, neighbours_BTN.flatten(1), weighted_BTN.flatten(1))
        scores_BV[:, :NUM_SPECIAL] = 0
        return scores_BV

    def contributions(self, read_BT: Tensor, items_BK: Tensor) -> Tensor:
        """What each item of a history adds to the scores of the given items: [B, T, K] on the
        CPU."""
        neighbours_BTN = self.neighbours_VN.cpu()[read_BT]
        weighted_BTN = self.similarities_VN.cpu()[read_BT] * recency(read_BT)[:, None]
        of_items = [
            weighted_BTN.where(neighbours_BTN == item_B[:, None, None], 0).sum(dim=2)
            for item_B in items_BK.T
        ]
        return torch.stack(of_items, dim=2)


def recency(read_BT: Tensor) -> Tensor:
    """Weights [T] of the places of a history, the newest of which is the last."""
    return RECENCY ** torch.arange(read_BT.shape[1] - 1, -1, -1, device=read_BT.device)


def weighted_pairs(
    sequences: Sequences, vocab_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ordered pairs of different items, and the sums of their weights.

    A pair weighs 1/√gap in order, and `BACKWARD` times as much in reverse order.
    """
    user_N = np.repeat(np.arange(len(sequences)), sequences.lengths)
    keys, weights = [np.empty(0, np.int64)], [np.empty(0)]
    for gap in range(1, MAX_GAP + 1):
        is_pair = user_N[:-gap] == user_N[gap:]
        earlier = sequences.tokens_N[:-gap][is_pair]
        later = sequences.tokens_N[gap:][is_pair]
        keys += [earlier * vocab_size + later, later * vocab_size + earlier]
        weights += [np.full(len(earlier), gap**-0.5), np.full(len(earlier), BACKWARD * gap**-0.5)]
    keys_P, place = np.unique(np.concatenate(keys), return_inverse=True)
    weights_P = np.bincount(place, weights=np.concatenate(weights), minlength=len(keys_P))
    first_P, second_P = np.divmod(keys_P, vocab_size)
    differ_P = first_P != second_P
    return first_P[differ_P], second_P[differ_P], weights_P[differ_P]
