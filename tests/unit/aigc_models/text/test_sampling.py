import pytest

from aigc_models.text.sampling import GREEDY, Sampling


def test_the_greedy_candidate_comes_first() -> None:
    assert Sampling(num_candidates=2).candidates == [GREEDY, 0, 1]
    assert Sampling(num_candidates=2, greedy=False).candidates == [0, 1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_candidates": 0, "greedy": False},
        {"temperature": 0.0},
        {"max_tokens": 0},
        {"num_candidates": -1},
    ],
)
def test_invalid_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must be|needed"):
        Sampling(**wrong)
