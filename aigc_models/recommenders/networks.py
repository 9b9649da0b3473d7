"""Networks that predict the next item of a history, by family.

`gpt` sees only the past and predicts every next item (SASRec, Kang and McAuley 2018). `gru` does
the same with a recurrent cell (GRU4Rec, Hidasi et al. 2016). `bert` sees both sides and predicts
masked items (BERT4Rec, Sun et al. 2019). Scores are products with the items' embeddings, which are
shared by input and output.

B batch, T positions, E width, V items and special tokens.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from aigc_models.layers.recurrent import GRUCell, run
from aigc_models.layers.transformer import STD, Transformer, TransformerConfig
from aigc_models.recommenders.bert import BERT, BERTConfig
from aigc_models.recommenders.settings import FAMILIES

PAD, MASK = 0, 1
NUM_SPECIAL = 2
"""The number of special tokens, which come before the items."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemGPTConfig(TransformerConfig):
    vocab_size: int


class ItemGPT(Transformer):
    def __init__(self, config: ItemGPTConfig) -> None:
        super().__init__(config)
        self.config = config
        self.embedding = item_embedding(config.vocab_size, config.width)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """States [B, T, E]; each position sees the items up to its own."""
        states_BTE = self.trunk(self.embedding(tokens_BT), tokens_BT != PAD, is_causal=True)
        return states_BTE


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemGRUConfig:
    vocab_size: int
    width: int = 128
    num_layers: int = 1
    dropout: float = 0.2


class ItemGRU(nn.Module):
    def __init__(self, config: ItemGRUConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = item_embedding(config.vocab_size, config.width)
        self.cells = nn.ModuleList(
            GRUCell(config.width, config.width) for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """States [B, T, E]; each position has read the items up to its own. Padding is skipped."""
        is_item_BT = tokens_BT != PAD
        x_BTE = self.drop(self.embedding(tokens_BT))
        first_state_B1E = x_BTE.new_zeros(len(x_BTE), 1, self.config.width)
        for cell in self.cells:
            assert isinstance(cell, GRUCell)
            x_BTE, _ = run(cell, x_BTE, first_state_B1E, is_item_BT)
            x_BTE = self.drop(x_BTE)
        states_BTE: Tensor = self.norm(x_BTE)
        return states_BTE


ItemNetwork = ItemGPT | ItemGRU | BERT


def item_embedding(vocab_size: int, width: int) -> nn.Embedding:
    embedding = nn.Embedding(vocab_size, width)
    nn.init.normal_(embedding.weight, std=STD)
    return embedding


def build_item_network(family: str, num_items: int, options: dict[str, Any]) -> ItemNetwork:
    """Builds a network with new weights; `options` are further fields of its configuration."""
    vocab_size = NUM_SPECIAL + num_items
    if family == "gpt":
        return ItemGPT(ItemGPTConfig(vocab_size=vocab_size, **options))
    if family == "gru":
        return ItemGRU(ItemGRUConfig(vocab_size=vocab_size, **options))
    if family == "bert":
        return BERT(BERTConfig(vocab_size=vocab_size, pad_id=PAD, **options))
    raise ValueError(f"family must be one of {', '.join(FAMILIES)}, not {family!r}")


def item_network_options(network: ItemNetwork) -> dict[str, Any]:
    """The options from which `build_item_network` builds this network."""
    options = asdict(network.config)
    for name in ("vocab_size", "pad_id"):
        options.pop(name, None)
    return options


def next_states(network: ItemNetwork, tokens_BT: Tensor) -> Tensor:
    """States [B, E] that predict the item after each history; histories are padded on the left."""
    if isinstance(network, BERT):
        # BERT predicts masked items, so the next item is a mask at the end.
        mask_B1 = tokens_BT.new_full((len(tokens_BT), 1), MASK)
        tokens_BT = torch.cat([tokens_BT, mask_B1], dim=1)
    states_BTE: Tensor = network(tokens_BT)
    return states_BTE[:, -1]
