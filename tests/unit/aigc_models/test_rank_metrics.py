import math

import pytest
import torch

from aigc_models.rank_metrics import hit_rate, ndcg, ranks

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
