import pytest
import torch
from torch import nn

from aigc_models.layers.recurrent import Cell, ElmanCell, GRUCell, LSTMCell, run


@pytest.mark.parametrize(
    ("kind", "torch_kind"), [(ElmanCell, nn.RNN), (LSTMCell, nn.LSTM), (GRUCell, nn.GRU)]
)
def test_cells_agree_with_torch(kind: type[Cell], torch_kind: type[nn.RNNBase]) -> None:
    torch.manual_seed(0)
    cell, theirs = kind(5, 7), torch_kind(5, 7, batch_first=True)
    theirs.load_state_dict(
        {
            "weight_ih_l0": cell.of_input.weight,
            "bias_ih_l0": cell.of_input.bias,
            "weight_hh_l0": cell.of_state.weight,
            "bias_hh_l0": cell.of_state.bias,
        }
    )
    x = torch.randn(3, 6, 5)
    outputs, last = run(cell, x, torch.zeros(3, cell.num_states, 7))
    expected, states = theirs(x)
    torch.testing.assert_close(outputs, expected)
    if kind is LSTMCell:
        h, c = states
        expected_last = torch.stack([h[0], c[0]], dim=1)
    else:
        expected_last = states.transpose(0, 1)
    torch.testing.assert_close(last, expected_last)


def test_invisible_positions_do_not_change_the_state() -> None:
    torch.manual_seed(0)
    cell, x = GRUCell(5, 7), torch.randn(1, 4, 5)
    visible = torch.tensor([[False, False, True, True]])
    _, padded = run(cell, x, torch.zeros(1, 1, 7), visible)
    _, short = run(cell, x[:, 2:], torch.zeros(1, 1, 7))
    torch.testing.assert_close(padded, short)
