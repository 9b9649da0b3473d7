import pytest
import torch

from aigc_models.text.networks.coverage import Coverage

PREFIX = torch.tensor([[0, 7, 5, 6, 1]])
TEXT = torch.tensor([[9, 15, 9, 8]])


@pytest.fixture
def coverage() -> Coverage:
    """Tokens 5 and 15 are one slot, 6 is another; 7 is a value with the marker 8; 0 is padding, 2
    the end."""
    module = Coverage(vocab_size=20, width=4, pad_id=0, end_id=2)
    module.set_facts({5: 1, 15: 1, 6: 2, 7: 3, 8: 3}, [5, 15, 6])
    return module


def test_a_fact_remains_until_the_text_states_it(coverage: Coverage) -> None:
    remaining = coverage.remaining(PREFIX, TEXT)[0]
    assert remaining[:, 0].tolist() == [False] * 5, "padding is not a fact"
    assert remaining[:, 1].tolist() == [True, True, True, True, False]
    assert remaining[:, 2].tolist() == [True, True, False, False, False]
    assert remaining[:, 3].tolist() == [True] * 5


def test_single_steps_agree_with_a_whole_text(coverage: Coverage) -> None:
    remaining = PREFIX != 0
    for t in range(TEXT.shape[1]):
        remaining = remaining & ~coverage.stated_by(PREFIX, TEXT[:, t : t + 1])[:, 0]
        assert remaining.equal(coverage.remaining(PREFIX, TEXT)[:, t + 1])


def test_remaining_slots_are_raised_and_the_end_is_held_back(coverage: Coverage) -> None:
    remaining = coverage.remaining(PREFIX, TEXT)
    with torch.no_grad():
        logits = coverage.adjust(torch.zeros(1, 5, 20), PREFIX, remaining)[0]
    assert logits[0, 5] == logits[0, 6] == coverage.unstated.item()
    assert logits[4, 5] == coverage.stated.item()
    assert logits[0, 7] == 0.0
    assert logits[0, 2] == pytest.approx(3 * coverage.end.item())
    assert logits[4, 2] == pytest.approx(coverage.end.item())


def test_the_summary_is_the_mean_of_what_remains(coverage: Coverage) -> None:
    act = torch.randn(1, 5, 4)
    with torch.no_grad():
        coverage.project.weight.copy_(torch.eye(4))
        summary = coverage.summary(act, coverage.remaining(PREFIX, TEXT))[0]
    torch.testing.assert_close(summary[0], act[0, 1:].mean(0))
    torch.testing.assert_close(summary[4], act[0, 3:].mean(0))
