"""Networks that read the items of a history and say which item comes next, by family.

`gpt` sees the past only and learns every next item (SASRec, Kang and McAuley 2018), `gru` does the
same with a recurrent cell (GRU4Rec, Hidasi et al. 2016), `bert` sees both sides and learns items
that are masked (BERT4Rec, Sun et al. 2019). Scores are products with the items' embeddings, which
input and output share.

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
"""Tokens before the first item."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemGPTConfig(TransformerConfig):
    vocab_size: int


class ItemGPT(Transformer):
    def __init__(self, config: ItemGPTConfig) -> None:
        super().__init__(config)
        self.config = config
        self.embedding = item_embedding(config.vocab_size, config.width)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """States [B, T, E], each of the items up to its own."""
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
        """States [B, T, E], each of the items up to its own; padding leaves the state as it is."""
        x_BTE = self.drop(self.embedding(tokens_BT))
        for cell in self.cells:
            assert isinstance(cell, GRUCell)
            x_BTE, _ = run(
                cell, x_BTE, x_BTE.new_zeros(len(x_BTE), 1, self.config.width), tokens_BT != PAD
            )
            x_BTE = self.drop(x_BTE)
        states_BTE: Tensor = self.norm(x_BTE)
        return states_BTE


ItemNetwork = ItemGPT | ItemGRU | BERT


def item_embedding(vocab_size: int, width: int) -> nn.Embedding:
    embedding = nn.Embedding(vocab_size, width)
    nn.init.normal_(embedding.weight, std=STD)
    return embedding


def build_item_network(family: str, num_items: int, options: dict[str, Any]) -> ItemNetwork:
    """A network with fresh weights; `options` are further fields of the family's configuration."""
    vocab_size = NUM_SPECIAL + num_items
    if family == "gpt":
        return ItemGPT(ItemGPTConfig(vocab_size=vocab_size, **options))
    if family == "gru":
        return ItemGRU(ItemGRUConfig(vocab_size=vocab_size, **options))
    if family == "bert":
        return BERT(BERTConfig(vocab_size=vocab_size, pad_id=PAD, mask_id=MASK, **options))
    raise ValueError(f"family must be one of {', '.join(FAMILIES)}, not {family!r}")


def item_network_options(network: ItemNetwork) -> dict[str, Any]:
    """The options that `build_item_network` makes this network from."""
    options = asdict(network.config)
    for name in ("vocab_size", "pad_id", "mask_id"):
        options.pop(name, None)
    return options


def next_states(network: ItemNetwork, tokens_BT: Tensor) -> Tensor:
    """States [B, E] of the item that follows each history; histories are padded on the left."""
    if isinstance(network, BERT):
        tokens_BT = torch.cat([tokens_BT, tokens_BT.new_full((len(tokens_BT), 1), MASK)], dim=1)
    states_BTE: Tensor = network(tokens_BT)
    return states_BTE[:, -1]
