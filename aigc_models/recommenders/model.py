"""A trained recommender: takes histories, returns the best items and a reason for each.

This is the interface that jobs use, whatever the family.

B batch, T positions of a history, V items and special tokens, K recommended items.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aigc_models.checkpoint import (
    CONFIG,
    WEIGHTS,
    CheckpointError,
    read_weights,
    write_json,
    write_tensors,
)
from aigc_models.recommenders.assortment import KNOWN_ITEMS, Assortment, Attributes, compare
from aigc_models.recommenders.data import Items, left_padded
from aigc_models.recommenders.knn import MAX_READ, ItemKNN
from aigc_models.recommenders.networks import (
    NUM_SPECIAL,
    PAD,
    ItemNetwork,
    build_item_network,
    item_network_options,
    next_states,
)

BATCH_USERS = 256
"""Histories scored at once."""
ABOVE_COSINES = 2.0
"""Added to the scores of items that were taken before the recommended one. Cosines lie between -1
and 1, so every such item ranks above all items that are only similar."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    item: str
    score: float
    """The probability that this item comes next, between 0 and 1."""
    because: str | None
    """The item of the history that is the best reason; None if the history has no known item."""


class Recommender:
    """Blends a network's probabilities with those of item-kNN."""

    def __init__(
        self,
        family: str,
        network: ItemNetwork,
        knn: ItemKNN,
        items: Items,
        popularity_V: Tensor,
        *,
        max_items: int,
        knn_share: float = 0.5,
        assortment: Assortment = KNOWN_ITEMS,
    ) -> None:
        """`popularity_V`: each item's share of all events; `assortment`: the items that may be
        recommended."""
        self.family = family
        self.network = network.eval()
        self.knn = knn
        self.items = items
        self.popularity_V = popularity_V
        self.max_items = max_items
        self.knn_share = knn_share
        self.assortment = assortment
        self.all_items = Items((*items.ids, *assortment.ids))

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> "Recommender":
        """Reads a checkpoint folder.

        Raises `CheckpointError`, which names what is missing or damaged.
        """
        config, tensors = read_weights(folder)
        try:
            items = Items(tuple(config["items"]))
            network = build_item_network(config["family"], len(items), config["network"])
            network.load_state_dict(
                {name.removeprefix("network."): tensors[name] for name in tensors if "." in name}
            )
            knn = ItemKNN(
                tensors["neighbours_VN"].to(device), tensors["similarities_VN"].to(device)
            )
            sizes = {name: config[name] for name in ("max_items", "knn_share")}
            popularity_V = tensors["popularity_V"].to(device)
            return cls(config["family"], network.to(device), knn, items, popularity_V, **sizes)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{folder} is not a recommender checkpoint: {error}") from error

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors["neighbours_VN"] = self.knn.neighbours_VN
        tensors["similarities_VN"] = self.knn.similarities_VN
        tensors["popularity_V"] = self.popularity_V
        write_tensors(folder / WEIGHTS, tensors)
        config = {
            "family": self.family,
            "network": item_network_options(self.network),
            "items": list(self.items.ids),
            "max_items": self.max_items,
            "knn_share": self.knn_share,
        }
        write_json(folder / CONFIG, config)

    def for_catalog(self, attributes: Attributes) -> "Recommender":
        """The same recommender for another assortment: it recommends exactly the items of
        `attributes`, including new ones."""
        return Recommender(
            self.family,
            self.network,
            self.knn,
            self.items,
            self.popularity_V,
            max_items=self.max_items,
            knn_share=self.knn_share,
            assortment=compare(self.items, attributes),
        )

    @torch.inference_mode()
    def recommend(
        self, histories: Sequence[Sequence[str]], k: int, *, leave_out_seen: bool = True
    ) -> list[list[Recommendation]]:
        """The `k` best items for each history, the best first; fewer if there are no more.

        Skips unknown items of a history. A history without known items gets the most popular ones.
        """
        tokens = [
            np.asarray(self.all_items.tokens(history), dtype=np.int64) for history in histories
        ]
        found: list[list[Recommendation]] = [[] for _ in tokens]
        for rows in batches_by_length(tokens):
            batch = [tokens[row] for row in rows]
            ranked_BK, scores_BK = self.rank(
                batch, k, leave_out_seen=leave_out_seen, knn_share=self.knn_share
            )
            reasons_BK = self._select_reasons(batch, ranked_BK)
            for place, row in enumerate(rows):
                found[row] = self._recommendations(
                    ranked_BK[place], scores_BK[place], reasons_BK[place]
                )
        return found

    def _recommendations(
        self, ranked_K: Tensor, scores_K: Tensor, reasons_K: Tensor
    ) -> list[Recommendation]:
        ids = self.all_items.ids
        found = []
        for token, score, reason in zip(
            ranked_K.tolist(), scores_K.tolist(), reasons_K.tolist(), strict=True
        ):
            if score >= 0:
                because = None if reason == PAD else ids[reason - NUM_SPECIAL]
                found.append(Recommendation(ids[token - NUM_SPECIAL], score, because))
        return found

    def rank(
        self, histories: Sequence[np.ndarray], k: int, *, leave_out_seen: bool, knn_share: float
    ) -> tuple[Tensor, Tensor]:
        """Tokens [B, K] of the best items and their scores, which are below 0 if there are no more.

        Tokens of new items come after those of the known ones.
        """
        scores_BV = self.scores(histories, knn_share)
        scores_BV = torch.cat([scores_BV, self.assortment.scores(scores_BV)], dim=1)
        scores_BV[:, self.assortment.not_sold_S.to(scores_BV.device)] = -1.0
        if leave_out_seen:
            for row, history in enumerate(histories):
                scores_BV[row, torch.from_numpy(history).to(scores_BV.device)] = -1.0
        best = scores_BV.topk(min(k, len(self.all_items)), dim=1)
        return best.indices.cpu(), best.values.cpu()

    def scores(self, histories: Sequence[np.ndarray], knn_share: float) -> Tensor:
        """Probabilities [B, V] that an item comes next; below 0 for special tokens.

        Histories without known items get the popularity of the items.
        """
        histories = self._known(histories)
        table_VE = self.network.embedding.weight
        tokens_BT = left_padded([history[-self.max_items :] for history in histories])
        states_BE = next_states(self.network, tokens_BT.to(table_VE.device))
        logits_BV = (states_BE.bfloat16() @ table_VE.bfloat16().T).float()
        logits_BV[:, :NUM_SPECIAL] = float("-inf")
        scores_BV = logits_BV.softmax(dim=1)
        if knn_share > 0:
            near_BV = self.knn.scores(histories)
            total_B1 = near_BV.sum(dim=1, keepdim=True)
            near_BV = torch.where(total_B1 > 0, near_BV / total_B1.clamp_min(1e-12), scores_BV)
            scores_BV = scores_BV.lerp(near_BV, knn_share)
        empty_rows = [row for row, history in enumerate(histories) if not len(history)]
        scores_BV[empty_rows] = self.popularity_V
        scores_BV[:, :NUM_SPECIAL] = -1.0
        return scores_BV

    def _known(self, histories: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [history[history < self.items.vocab_size] for history in histories]

    def _select_reasons(self, histories: Sequence[np.ndarray], ranked_BK: Tensor) -> Tensor:
        """Tokens [B, K] of the history's items that are the best reasons for the ranked ones.

        This is the item that users most often take before the ranked one, by item-kNN. If users
        took none of them before it, it is the item with the most similar embedding. PAD if the
        history has no known item.
        """
        read_BT = left_padded([history[-MAX_READ:] for history in self._known(histories)])
        table_VE = self.network.embedding.weight.cpu()
        table_VE = F.normalize(torch.cat([table_VE, self.assortment.embeddings(table_VE)]), dim=1)
        cosines_BTK = table_VE[read_BT] @ table_VE[ranked_BK].transpose(1, 2)
        knn_BTK = self.knn.contributions(read_BT, ranked_BK)
        strength_BTK = torch.where(knn_BTK > 0, knn_BTK + ABOVE_COSINES, cosines_BTK)
        strength_BTK[read_BT == PAD] = float("-inf")
        return read_BT.gather(1, strength_BTK.argmax(dim=1))


def batches_by_length(histories: Sequence[np.ndarray]) -> Iterator[list[int]]:
    """Yields the rows of each batch: histories of similar length, so that little is padding."""
    order = sorted(range(len(histories)), key=lambda row: len(histories[row]))
    for start in range(0, len(order), BATCH_USERS):
        yield order[start : start + BATCH_USERS]
