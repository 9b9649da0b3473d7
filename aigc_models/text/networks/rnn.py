"""Recurrent generators: an encoder reads the act, a decoder writes the text and attends to the act
at every step.

Encoder-decoder by Sutskever et al. (2014); attention by Luong et al. (2015), global, "general"
score, without input feeding; what remains to be said of the act is fed at every step besides, as in
SC-LSTM (Wen et al. 2015), because a prefix alone is soon forgotten.

B batch, P prefix, T text, E width, G gates x width, N states of a cell, V vocabulary.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from aigc_models.layers.recurrent import Cell, ElmanCell, GRUCell, LSTMCell, run
from aigc_models.text.networks.coverage import Coverage
from aigc_models.text.networks.embedding import FrozenEmbedding, TokenEmbedding

CellName = Literal["rnn", "lstm", "gru"]


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


CELLS: dict[str, type[Cell]] = {"rnn": ElmanCell, "lstm": LSTMCell, "gru": GRUCell}


@dataclass(slots=True)
class RNNState:
    """The decoder's state, and what it attends to."""

    layers: list[Tensor]
    act_BPE: Tensor
    prefix_BP: Tensor
    remaining_BP: Tensor
    """Of the prefix, what the text does not state yet."""
    embedding: TokenEmbedding | FrozenEmbedding

    def select(self, branches: Tensor) -> "RNNState":
        """The state of the given branches, which may repeat. Takes the acts over; copies those that
        move."""
        if len(branches) > len(self.act_BPE):
            act_BPE = self.act_BPE[branches]
        else:
            moved = (branches != torch.arange(len(branches), device=branches.device)).nonzero()[
                :, 0
            ]
            act_BPE = self.act_BPE.index_copy_(0, moved, self.act_BPE[branches[moved]])[
                : len(branches)
            ]
        layers = [state[branches] for state in self.layers]
        return RNNState(
            layers, act_BPE, self.prefix_BP[branches], self.remaining_BP[branches], self.embedding
        )


class RNN(nn.Module):
    def __init__(self, config: RNNConfig) -> None:
        super().__init__()
        self.config = config
        cell, width = CELLS[config.cell], config.width
        self.embedding = TokenEmbedding(
            config.vocab_size, config.num_parts, config.num_links, width, width**-0.5
        )
        self.coverage = Coverage(config.vocab_size, width, config.pad_id, config.end_id)
        self.encoder = nn.ModuleList(cell(width, width) for _ in range(config.num_layers))
        self.backward_encoder = cell(width, width)
        self.join = nn.Linear(2 * width, width)
        widths = [2 * width] + [width] * (config.num_layers - 1)
        self.decoder = nn.ModuleList(cell(input_width, width) for input_width in widths)
        self.score = nn.Linear(width, width, bias=False)
        self.combine = nn.Linear(2 * width, width)
        self.drop = nn.Dropout(config.dropout)

    def encode(self, prefix_BP: Tensor, embedding: TokenEmbedding | FrozenEmbedding) -> RNNState:
        visible_BP = prefix_BP != self.config.pad_id
        embedded_BPE = x_BPE = self.drop(embedding(prefix_BP))
        layers = []
        for cell in self.encoder:
            assert isinstance(cell, Cell)
            x_BPE, last = run(cell, x_BPE, self.zeros(cell, prefix_BP), visible_BP)
            layers.append(last)
        backward, _ = run(
            self.backward_encoder,
            embedded_BPE.flip(1),
            self.zeros(self.backward_encoder, prefix_BP),
            visible_BP.flip(1),
        )
        # The embeddings beside the states: what is attended to must tell which symbol it is.
        act_BPE = self.join(torch.cat([x_BPE, backward.flip(1)], dim=-1)) + embedded_BPE
        return RNNState(layers, act_BPE, prefix_BP, visible_BP, embedding)

    def zeros(self, cell: Cell, tokens_BP: Tensor) -> Tensor:
        return self.embedding.own.new_zeros(tokens_BP.shape[0], cell.num_states, self.config.width)

    def decode(self, tokens_BT: Tensor, state: RNNState, remaining_BTP: Tensor) -> Tensor:
        """Logits [B, T, V] of what follows each token; the state's layers are replaced by the last
        ones."""
        embedded_BTE = self.drop(state.embedding(tokens_BT))
        summary_BTE = self.coverage.summary(state.act_BPE, remaining_BTP)
        x_BTE = torch.cat([embedded_BTE, summary_BTE], dim=-1)
        for layer, cell in enumerate(self.decoder):
            assert isinstance(cell, Cell)
            x_BTE, state.layers[layer] = run(cell, x_BTE, state.layers[layer])
            x_BTE = self.drop(x_BTE)
        scores_BTP = self.score(x_BTE) @ state.act_BPE.transpose(1, 2)
        scores_BTP = scores_BTP.masked_fill(
            (state.prefix_BP == self.config.pad_id)[:, None, :], float("-inf")
        )
        context_BTE = torch.softmax(scores_BTP, dim=-1) @ state.act_BPE
        attended_BTE = self.drop(torch.tanh(self.combine(torch.cat([context_BTE, x_BTE], dim=-1))))
        return self.coverage.adjust(
            state.embedding.logits(attended_BTE), state.prefix_BP, remaining_BTP
        )

    def forward(self, prefix_BP: Tensor, text_BT: Tensor) -> Tensor:
        """Logits [B, T+1, V] of each text token and of what follows the last; the prefix is padded
        on the left."""
        remaining_BTP = self.coverage.remaining(prefix_BP, text_BT)
        state = self.encode(prefix_BP, self.embedding)
        return self.decode(torch.cat([prefix_BP[:, -1:], text_BT], dim=1), state, remaining_BTP)

    def start(self, prefix_BP: Tensor) -> tuple[Tensor, RNNState]:
        """Logits [B, V] of the first text token, and the state to go on from."""
        state = self.encode(prefix_BP, self.embedding.frozen())
        return self.decode(prefix_BP[:, -1:], state, state.remaining_BP[:, None])[:, 0], state

    def step(self, tokens_B: Tensor, state: RNNState) -> tuple[Tensor, RNNState]:
        """Logits [B, V] of what follows the given tokens, and the state grown by them."""
        state.remaining_BP = (
            state.remaining_BP & ~self.coverage.says(state.prefix_BP, tokens_B[:, None])[:, 0]
        )
        return self.decode(tokens_B[:, None], state, state.remaining_BP[:, None])[:, 0], state
