"""Items that the same users take soon after one another (item-kNN, Sarwar et al. 2001), as a
recommender.

s(i, j) = Σ w / ((n_i + λ)^p (n_j + λ)^p) over the places of both in a user's history, where w is
larger the nearer both stand, and larger if j comes after i; n counts places in all histories. An
item's score is the sum over the history's items, the newer ones counting more. Builds in seconds,
and is what any network has to beat.

V items and special tokens, N neighbours, B batch, T places of a history, K items, P pairs.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from aigc_models.recommenders.data import Sequences, left_padded
from aigc_models.recommenders.networks import NUM_SPECIAL

MAX_GAP = 20
"""Places between two items of a history that still count as a pair."""
BACKWARD = 0.3
"""The weight of a pair against its direction."""
SHRINKAGE, POWER = 20.0, 0.3
"""λ and p: with less of λ, items of a single user come first; with more of p, popular ones are
lost."""
RECENCY = 0.7
"""The weight of a history's item beside that of the one after it."""
MAX_READ = 20
"""The newest items of a history that count: what is older would weigh next to nothing."""


class ItemKNN:
    def __init__(self, neighbours_VN: Tensor, similarities_VN: Tensor) -> None:
        """`neighbours_VN`: tokens, the nearest first, 0 where there are no more, with similarity
        0."""
        self.neighbours_VN, self.similarities_VN = neighbours_VN, similarities_VN

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
        order = np.lexsort((second_P, -similarities_P, first_P))
        first_P, second_P, similarities_P = first_P[order], second_P[order], similarities_P[order]
        place_P = np.arange(len(first_P)) - np.searchsorted(first_P, first_P)
        near_P = place_P < num_neighbours
        neighbours_VN = np.zeros((vocab_size, num_neighbours), dtype=np.int32)
        similarities_VN = np.zeros((vocab_size, num_neighbours), dtype=np.float32)
        neighbours_VN[first_P[near_P], place_P[near_P]] = second_P[near_P]
        similarities_VN[first_P[near_P], place_P[near_P]] = similarities_P[near_P]
        return cls(
            torch.from_numpy(neighbours_VN).to(device), torch.from_numpy(similarities_VN).to(device)
        )

    def scores(self, histories: Sequence[np.ndarray]) -> Tensor:
        """[B, V], where the neighbours are; 0 for items that are near to none of the history."""
        device = self.neighbours_VN.device
        read_BT = left_padded([history[-MAX_READ:] for history in histories]).to(device)
        weighted_BTN = self.similarities_VN[read_BT] * recency(read_BT)[:, None]
        scores_BV = torch.zeros(len(histories), len(self.neighbours_VN), device=device)
        scores_BV.scatter_add_(
            1, self.neighbours_VN[read_BT].flatten(1).long(), weighted_BTN.flatten(1)
        )
        scores_BV[:, :NUM_SPECIAL] = 0
        return scores_BV

    def nearness(self, read_BT: Tensor, items_BK: Tensor) -> Tensor:
        """What each item of a history adds to the scores of some items: [B, T, K] on the CPU."""
        neighbours_BTN = self.neighbours_VN.cpu()[read_BT]
        weighted_BTN = self.similarities_VN.cpu()[read_BT] * recency(read_BT)[:, None]
        of_items = [
            weighted_BTN.where(neighbours_BTN == item_B[:, None, None], 0).sum(dim=2)
            for item_B in items_BK.T
        ]
        return torch.stack(of_items, dim=2)


def recency(read_BT: Tensor) -> Tensor:
    """Weights [T] of a history's places, the newest of which comes last."""
    return RECENCY ** torch.arange(read_BT.shape[1] - 1, -1, -1, device=read_BT.device)


def weighted_pairs(
    sequences: Sequences, vocab_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ordered pairs of different items, and the sum of their weights: 1/√gap forward, `BACKWARD` of
    it backward."""
    user_N = np.repeat(np.arange(len(sequences)), sequences.lengths)
    keys, weights = [np.empty(0, np.int64)], [np.empty(0)]
    for gap in range(1, MAX_GAP + 1):
        is_pair = user_N[:-gap] == user_N[gap:]
        earlier, later = sequences.tokens_N[:-gap][is_pair], sequences.tokens_N[gap:][is_pair]
        keys += [earlier * vocab_size + later, later * vocab_size + earlier]
        weights += [np.full(len(earlier), gap**-0.5), np.full(len(earlier), BACKWARD * gap**-0.5)]
    keys_P, place = np.unique(np.concatenate(keys), return_inverse=True)
    weights_P = np.bincount(place, weights=np.concatenate(weights), minlength=len(keys_P))
    first_P, second_P = np.divmod(keys_P, vocab_size)
    differ_P = first_P != second_P
    return first_P[differ_P], second_P[differ_P], weights_P[differ_P]
