"""Recurrent cells, and a layer of one over a sequence.

B batch, T positions, E width, G number of gates x width, N states of a cell.
"""

from abc import abstractmethod

import torch
from torch import Tensor, nn


class Cell(nn.Module):
    """Splits the gates into the input's share, computed for all steps at once, and the state's,
    computed step by step."""

    num_gates: int
    num_states: int = 1

    def __init__(self, input_width: int, width: int) -> None:
        super().__init__()
        self.of_input = nn.Linear(input_width, self.num_gates * width)
        self.of_state = nn.Linear(width, self.num_gates * width)
        for weight in self.parameters():
            nn.init.uniform_(weight, -(width**-0.5), width**-0.5)

    @abstractmethod
    def advance(self, input_BG: Tensor, state_BNE: Tensor) -> Tensor:
        """The next state [B, N, E]; the first of the N is the output."""


class ElmanCell(Cell):
    """h' = tanh(W x + U h + b) (Elman 1990)."""

    num_gates = 1

    def advance(self, input_BG: Tensor, state_BNE: Tensor) -> Tensor:
        return torch.tanh(input_BG + self.of_state(state_BNE[:, 0]))[:, None]


class LSTMCell(Cell):
    """c' = σ(f) c + σ(i) tanh(g), h' = σ(o) tanh(c') (Hochreiter and Schmidhuber 1997; Gers et al.
    2000)."""

    num_gates = 4
    num_states = 2

    def advance(self, input_BG: Tensor, state_BNE: Tensor) -> Tensor:
        h, c = state_BNE.unbind(1)
        i, f, g, o = (input_BG + self.of_state(h)).chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.stack([torch.sigmoid(o) * torch.tanh(c), c], dim=1)


class GRUCell(Cell):
    """r, z = σ(gates); n = tanh(W x + r (U h)); h' = (1 - z) n + z h (Cho et al. 2014, in cuDNN's
    variant)."""

    num_gates = 3

    def advance(self, input_BG: Tensor, state_BNE: Tensor) -> Tensor:
        h = state_BNE[:, 0]
        input_r, input_z, input_n = input_BG.chunk(3, dim=1)
        state_r, state_z, state_n = self.of_state(h).chunk(3, dim=1)
        z = torch.sigmoid(input_z + state_z)
        n = torch.tanh(input_n + torch.sigmoid(input_r + state_r) * state_n)
        return ((1 - z) * n + z * h)[:, None]


def run(
    cell: Cell, x_BTE: Tensor, state_BNE: Tensor, visible_BT: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Outputs [B, T, E] and the last state [B, N, E]; invisible positions do not change the
    state."""
    gates_BTG = cell.of_input(x_BTE)
    outputs = []
    for t in range(x_BTE.shape[1]):
        next_BNE = cell.advance(gates_BTG[:, t], state_BNE)
        if visible_BT is not None:
            next_BNE = torch.where(visible_BT[:, t, None, None], next_BNE, state_BNE)
        state_BNE = next_BNE
        outputs.append(state_BNE[:, 0])
    return torch.stack(outputs, dim=1), state_BNE
