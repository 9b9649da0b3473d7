import pytest
import torch

from aigc_models.text.networks.rnn import CELLS, RNN, RNNConfig

PREFIX = torch.tensor([[3, 4, 5, 1], [0, 0, 6, 1]])
TEXT = torch.tensor([[7, 8, 9, 10, 11], [12, 13, 14, 15, 16]])


@pytest.fixture(params=sorted(CELLS))
def network(request: pytest.FixtureRequest) -> RNN:
    torch.manual_seed(0)
    config = RNNConfig(vocab_size=30, cell=request.param, width=12, num_layers=2, dropout=0.0)
    return RNN(config).eval()


@torch.no_grad()
def test_single_steps_give_the_logits_of_a_whole_pass(network: RNN) -> None:
    expected = network(PREFIX, TEXT)
    logits, state = network.start(PREFIX)
    torch.testing.assert_close(logits, expected[:, 0])
    for t in range(TEXT.shape[1]):
        logits = network.step(TEXT[:, t], state)
        torch.testing.assert_close(logits, expected[:, t + 1])


@torch.no_grad()
def test_padding_on_the_left_does_not_change_logits(network: RNN) -> None:
    padded = torch.cat([torch.zeros(2, 3, dtype=torch.int64), PREFIX], dim=1)
    torch.testing.assert_close(network(padded, TEXT), network(PREFIX, TEXT))


@torch.no_grad()
def test_reordered_branches_continue_as_before(network: RNN) -> None:
    _, state = network.start(PREFIX)
    rows = torch.tensor([1, 1, 0])
    state.reorder(rows)
    logits = network.step(TEXT[rows, 0], state)
    torch.testing.assert_close(logits, network(PREFIX, TEXT[:, :1])[rows, 1])


def test_an_unknown_cell_is_refused() -> None:
    with pytest.raises(ValueError, match="cell must be one of"):
        RNNConfig(vocab_size=5, cell="tanh")  # type: ignore[arg-type]  # the point of the test
