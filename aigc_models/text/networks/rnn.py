"""Recurrent generators: an encoder reads the act, a decoder writes the text and attends to the act
at every step.

Encoder-decoder by Sutskever et al. (2014); global attention with the "general" score and without
input feeding by Luong et al. (2015, eq. 5-8). As in SC-LSTM (Wen et al. 2015) the decoder also
reads the remaining act at every step, because a network soon forgets a prefix.

B batch or branches, P prefix, T text, E width, N states of a cell, V vocabulary.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from aigc_models.layers.recurrent import Cell, ElmanCell, GRUCell, LSTMCell, run
from aigc_models.text.networks.coverage import Coverage
from aigc_models.text.networks.embedding import FrozenEmbedding, TokenEmbedding

CellName = Literal["rnn", "lstm", "gru"]
CELLS: dict[str, type[Cell]] = {"rnn": ElmanCell, "lstm": LSTMCell, "gru": GRUCell}


@dataclass(frozen=True, slots=True, kw_only=True)
class RNNConfig:
    vocab_size: int
    cell: CellName
    num_parts: int = 0
    num_links: int = 0
    pad_id: int = 0
    end_id: int = 2
    width: int = 256
    num_layers: int = 1
    dropout: float = 0.3

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise ValueError(f"cell must be one of {', '.join(CELLS)}, not {self.cell!r}")
        if min(self.vocab_size, self.width, self.num_layers) < 1 or not 0 <= self.dropout < 1:
            raise ValueError("sizes must be positive and dropout in [0, 1)")


class RNN(nn.Module):
    def __init__(self, config: RNNConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.embedding = TokenEmbedding(
            config.vocab_size, config.num_parts, config.num_links, width, width**-0.5
        )
        self.coverage = Coverage(config.vocab_size, width, config.pad_id, config.end_id)
        cell = CELLS[config.cell]
        self.encoder = stack(cell(width, width) for _ in range(config.num_layers))
        self.backward_encoder = cell(width, width)
        self.join = nn.Linear(2 * width, width)
        # The first layer of the decoder also reads the summary of what remains.
        input_widths = [2 * width] + [width] * (config.num_layers - 1)
        self.decoder = stack(cell(input_width, width) for input_width in input_widths)
        self.score = nn.Linear(width, width, bias=False)
        self.combine = nn.Linear(2 * width, width)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, prefix_BP: Tensor, text_BT: Tensor) -> Tensor:
        """Logits [B, T+1, V] of each text token and of what follows the last; the prefix is padded
        on the left."""
        state = self.encode(prefix_BP, self.embedding)
        remaining_BTP = self.coverage.remaining(prefix_BP, text_BT)
        # The last token of a prefix is the one before the text.
        tokens_BT = torch.cat([prefix_BP[:, -1:], text_BT], dim=1)
        return self.decode(tokens_BT, state, remaining_BTP)

    def start(self, prefix_BP: Tensor) -> tuple[Tensor, "RNNState"]:
        """Logits [B, V] of the first text token, and the state to decode from."""
        state = self.encode(prefix_BP, self.embedding.frozen())
        logits_B1V = self.decode(prefix_BP[:, -1:], state, state.remaining_BP[:, None])
        return logits_B1V[:, 0], state

    def step(self, tokens_B: Tensor, state: "RNNState") -> Tensor:
        """Logits [B, V] of what follows these tokens, one per branch. Appends them to `state`."""
        stated_BP = self.coverage.stated_by(state.prefix_BP, tokens_B[:, None])[:, 0]
        state.remaining_BP = state.remaining_BP & ~stated_BP
        return self.decode(tokens_B[:, None], state, state.remaining_BP[:, None])[:, 0]

    def encode(self, prefix_BP: Tensor, embedding: TokenEmbedding | FrozenEmbedding) -> "RNNState":
        """The state before the text: a bidirectional reading of the act to attend to, and the last
        states of the forward layers."""
        visible_BP = prefix_BP != self.config.pad_id
        embedded_BPE: Tensor = self.drop(embedding(prefix_BP))
        forward_BPE = embedded_BPE
        layers = []
        for cell in self.encoder:
            forward_BPE, last_BNE = run(cell, forward_BPE, self.zeros(prefix_BP), visible_BP)
            layers.append(last_BNE)
        backward_BPE, _ = run(
            self.backward_encoder, embedded_BPE.flip(1), self.zeros(prefix_BP), visible_BP.flip(1)
        )
        both_BPE = self.join(torch.cat([forward_BPE, backward_BPE.flip(1)], dim=-1))
        # The embeddings are added so that attention sees which symbol each position holds.
        return RNNState(layers, both_BPE + embedded_BPE, prefix_BP, visible_BP, embedding)

    def decode(self, tokens_BT: Tensor, state: "RNNState", remaining_BTP: Tensor) -> Tensor:
        """Logits [B, T, V] of what follows each token. Replaces the layers of `state` by those
        after the last token."""
        embedded_BTE = self.drop(state.embedding(tokens_BT))
        summary_BTE = self.coverage.summary(state.act_BPE, remaining_BTP)
        x_BTE = torch.cat([embedded_BTE, summary_BTE], dim=-1)
        for layer, cell in enumerate(self.decoder):
            x_BTE, state.layers[layer] = run(cell, x_BTE, state.layers[layer])
            x_BTE = self.drop(x_BTE)
        scores_BTP = self.score(x_BTE) @ state.act_BPE.transpose(1, 2)
        padding_B1P = (state.prefix_BP == self.config.pad_id)[:, None, :]
        scores_BTP = scores_BTP.masked_fill(padding_B1P, float("-inf"))
        context_BTE = torch.softmax(scores_BTP, dim=-1) @ state.act_BPE
        combined_BTE = self.combine(torch.cat([context_BTE, x_BTE], dim=-1))
        logits_BTV = state.embedding.logits(self.drop(torch.tanh(combined_BTE)))
        return self.coverage.adjust(logits_BTV, state.prefix_BP, remaining_BTP)

    def zeros(self, prefix_BP: Tensor) -> Tensor:
        """A cell's state [B, N, E] before its first input."""
        shape = (len(prefix_BP), self.backward_encoder.num_states, self.config.width)
        return self.embedding.own.new_zeros(shape)


@dataclass(slots=True)
class RNNState:
    """The decoder's state, and what it attends to."""

    layers: list[Tensor]
    """[B, N, E] of each layer."""
    act_BPE: Tensor
    prefix_BP: Tensor
    remaining_BP: Tensor
    """Positions of the prefix that the text does not state yet."""
    embedding: TokenEmbedding | FrozenEmbedding

    def reorder(self, branches_B: Tensor) -> None:
        """Replaces the branches by those at the given indices, which may repeat."""
        self.layers = [state_BNE[branches_B] for state_BNE in self.layers]
        self.prefix_BP = self.prefix_BP[branches_B]
        self.remaining_BP = self.remaining_BP[branches_B]
        num_branches = len(branches_B)
        if num_branches > len(self.act_BPE):
            self.act_BPE = self.act_BPE[branches_B]
            return
        # The largest tensor by far, so only the branches that move are copied, in place.
        own_indices_B = torch.arange(num_branches, device=branches_B.device)
        moved = (branches_B != own_indices_B).nonzero()[:, 0]
        self.act_BPE.index_copy_(0, moved, self.act_BPE[branches_B[moved]])
        self.act_BPE = self.act_BPE[:num_branches]


def stack(cells: Iterable[Cell]) -> Sequence[Cell]:
    """An `nn.ModuleList`, typed by what it holds."""
    return cast("Sequence[Cell]", nn.ModuleList(cells))
