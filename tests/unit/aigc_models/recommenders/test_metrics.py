import math

import numpy as np
import pytest
import torch

from aigc_models.recommenders.metrics import (
    coverage,
    hit_rate,
    ndcg,
    popularity_lift,
    ranks,
    ranks_among,
)

RANKED = torch.tensor([[5, 3, 9], [1, 2, 3], [7, 8, 9]])
ANSWERS = torch.tensor([3, 4, 7])


def test_a_rank_is_the_place_of_the_answer() -> None:
    assert ranks(RANKED, ANSWERS).tolist() == [2, 0, 1]


def test_metrics_are_those_of_one_relevant_item() -> None:
    places = ranks(RANKED, ANSWERS)
    assert hit_rate(places, 3) == pytest.approx(2 / 3)
    assert hit_rate(places, 1) == pytest.approx(1 / 3)
    assert ndcg(places, 3) == pytest.approx((1 / math.log2(3) + 0 + 1) / 3)
    assert ndcg(places, 1) == pytest.approx(1 / 3)


def test_a_rank_among_others_is_after_ties() -> None:
    others_BN = torch.tensor([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3], [0.3, 0.3, 0.3]])
    assert ranks_among(torch.tensor([0.4, 0.2, 0.3]), others_BN).tolist() == [1, 3, 4]


def test_coverage_counts_each_item_once() -> None:
    assert coverage(RANKED, 20) == pytest.approx(7 / 20)


def test_the_lift_compares_with_what_the_same_users_chose() -> None:
    counts_V = np.array([0, 0, 1, 3, 8])
    histories = [np.array([2, 3]), np.array([3, 3]), np.array([], dtype=np.int64)]
    # Chosen: (1 + 3) / 2 and 3, on average 2.5; recommended: (4 * 8 + 3 + 1) / 6
    ranked_BK = torch.tensor([[4, 4], [3, 2], [4, 4]])
    assert popularity_lift(ranked_BK, histories, counts_V) == pytest.approx(36 / 6 / 2.5 - 1)


def test_a_ranking_that_ends_early_hits_nothing_there() -> None:
    ranked_BK = torch.tensor([[5, 0, 0], [0, 0, 0]])
    assert ranks(ranked_BK, torch.tensor([5, 0])).tolist() == [1, 0]
    assert coverage(ranked_BK, 4) == pytest.approx(1 / 4)
    assert popularity_lift(
        ranked_BK, [np.array([2])], np.array([0, 0, 1, 0, 0, 2])
    ) == pytest.approx(1.0)
    assert popularity_lift(ranked_BK[1:], [np.array([2])], np.array([0, 0, 1])) == 0.0
