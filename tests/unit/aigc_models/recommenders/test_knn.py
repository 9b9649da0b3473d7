import numpy as np
import pytest
import torch

from aigc_models.recommenders.data import as_sequences
from aigc_models.recommenders.knn import (
    BACKWARD,
    POWER,
    RECENCY,
    SHRINKAGE,
    ItemKNN,
    weighted_pairs,
)
from aigc_models.recommenders.networks import PAD


def test_pairs_weigh_more_the_nearer_they_stand_and_less_backward() -> None:
    first, second, weights = weighted_pairs(as_sequences([[2, 3, 4], [2, 3]]), 5)
    found = dict(
        zip(zip(first.tolist(), second.tolist(), strict=True), weights.tolist(), strict=True)
    )
    far = 2**-0.5
    wanted = {
        (2, 3): 2.0,
        (3, 4): 1.0,
        (2, 4): far,
        (3, 2): 2 * BACKWARD,
        (4, 3): BACKWARD,
        (4, 2): far * BACKWARD,
    }
    assert found == pytest.approx(wanted)


def test_pairs_are_of_one_user_and_of_two_different_items() -> None:
    first, second, _ = weighted_pairs(as_sequences([[2], [3], [4, 4]]), 5)
    assert not len(first)
    assert not len(second)


def test_a_score_is_the_sum_of_the_similarities_to_the_history() -> None:
    knn = ItemKNN.fit(as_sequences([[2, 3], [2, 3], [5, 4]]), 6)
    scale = (np.array([0, 0, 2, 2, 1, 1]) + SHRINKAGE) ** POWER
    scores = knn.scores([np.array([2]), np.array([2, 5]), np.array([], dtype=np.int64)])
    assert float(scores[0, 3]) == pytest.approx(2 / (scale[2] * scale[3]), rel=1e-5)
    assert float(scores[1, 3]) == pytest.approx(RECENCY * 2 / (scale[2] * scale[3]), rel=1e-5)
    assert float(scores[1, 4]) == pytest.approx(1 / (scale[5] * scale[4]), rel=1e-5)
    assert not scores[2].any()


def test_only_the_nearest_neighbours_are_kept_and_the_nearest_come_first() -> None:
    knn = ItemKNN.fit(
        as_sequences([[2, 3], [2, 3], [2, 4], [2, 4], [2, 4], [2, 5]]), 6, num_neighbours=2
    )
    assert knn.neighbours_VN[2].tolist() == [4, 3]
    assert torch.equal(knn.similarities_VN.sort(dim=1, descending=True).values, knn.similarities_VN)


def test_the_contributions_of_a_history_add_up_to_the_score() -> None:
    knn = ItemKNN.fit(as_sequences([[2, 3, 4], [2, 3], [5, 4]]), 6)
    histories = [np.array([2, 3]), np.array([5])]
    near_BTK = knn.contributions(torch.tensor([[2, 3], [PAD, 5]]), torch.tensor([[4, 3], [4, 2]]))
    scores_BV = knn.scores(histories)
    assert near_BTK.shape == (2, 2, 2)
    torch.testing.assert_close(near_BTK.sum(dim=1)[0], scores_BV[0, [4, 3]])
    torch.testing.assert_close(near_BTK.sum(dim=1)[1], scores_BV[1, [4, 2]])
    assert float(near_BTK[1, 0].abs().max()) == 0.0, "padding adds nothing"


def test_scores_are_on_the_device_of_the_neighbours() -> None:
    knn = ItemKNN.fit(as_sequences([[2, 3], [5, 4]]), 6, device=torch.device("meta"))
    assert knn.scores([np.array([2])]).device.type == "meta"
