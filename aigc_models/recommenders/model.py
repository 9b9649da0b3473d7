"""A trained recommender: histories in, the best items and why out. What jobs know of a recommender
family.

B batch, T positions of a history, V items and special tokens, K recommended items.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
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


@dataclass(frozen=True, slots=True)
class Recommendation:
    item: str
    score: float
    """Share of the probability that this item comes next, between 0 and 1."""
    because: str | None
    """The item of the history that speaks most for it; None where the history has no known item."""


class Recommender:
    """A network's probabilities, blended with those of item-kNN."""

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
        """`popularity_V`: each item's share of all events; `assortment`: what may be
        recommended."""
        self.family, self.network, self.knn, self.items = family, network.eval(), knn, items
        self.popularity_V = popularity_V
        self.max_items, self.knn_share, self.assortment = max_items, knn_share, assortment
        self.all_items = Items((*items.ids, *assortment.ids))

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> "Recommender":
        """Reads a checkpoint folder; raises `CheckpointError` naming what is missing or
        unreadable."""
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
            raise CheckpointError(
                f"{folder}: this is no checkpoint of a recommender: {error}"
            ) from error

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {
            "neighbours_VN": self.knn.neighbours_VN,
            "similarities_VN": self.knn.similarities_VN,
        }
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
        """The same recommender, which recommends the items of `attributes` only: also those that it
        has not met."""
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
        """The `k` best items of each history, the best first; fewer where it leaves no more.
        Unknown items are passed over; a history without known ones gets what is popular."""
        tokens = [
            np.asarray(self.all_items.tokens(history), dtype=np.int64) for history in histories
        ]
        found: list[list[Recommendation]] = [[] for _ in tokens]
        for rows in batches_by_length(tokens):
            batch = [tokens[row] for row in rows]
            ranked_BK, scores_BK = self.rank(
                batch, k, leave_out_seen=leave_out_seen, knn_share=self.knn_share
            )
            because_BK = self.because(batch, ranked_BK)
            lists = (tensor.tolist() for tensor in (ranked_BK, scores_BK, because_BK))
            for row, *triples in zip(rows, *lists, strict=True):
                of_row = zip(*triples, strict=True)
                found[row] = [self._recommendation(*triple) for triple in of_row if triple[1] >= 0]
        return found

    def rank(
        self, histories: Sequence[np.ndarray], k: int, *, leave_out_seen: bool, knn_share: float
    ) -> tuple[Tensor, Tensor]:
        """Tokens [B, K] of the best items, and their scores; below 0 where there are no more. The
        tokens of new items come after those of the known ones."""
        scores_BV = self.scores(histories, knn_share)
        scores_BV = torch.cat([scores_BV, self.assortment.scores(scores_BV)], dim=1)
        scores_BV[:, self.assortment.not_sold_S.to(scores_BV.device)] = -1.0
        if leave_out_seen:
            for row, history in enumerate(histories):
                scores_BV[row, torch.from_numpy(history).to(scores_BV.device)] = -1.0
        best = scores_BV.topk(min(k, len(self.all_items)), dim=1)
        return best.indices.cpu(), best.values.cpu()

    def scores(self, histories: Sequence[np.ndarray], knn_share: float) -> Tensor:
        """Probabilities [B, V] that an item comes next, of an empty history by popularity alone;
        below 0 for special tokens."""
        histories = self._known(histories)
        device = self.network.embedding.weight.device
        states_BE = next_states(
            self.network,
            left_padded([history[-self.max_items :] for history in histories]).to(device),
        )
        logits_BV = (states_BE.bfloat16() @ self.network.embedding.weight.bfloat16().T).float()
        logits_BV[:, :NUM_SPECIAL] = float("-inf")
        scores_BV = logits_BV.softmax(dim=1)
        if knn_share > 0:
            near_BV = self.knn.scores(histories)
            total_B1 = near_BV.sum(dim=1, keepdim=True)
            near_BV = torch.where(total_B1 > 0, near_BV / total_B1.clamp_min(1e-12), scores_BV)
            scores_BV = scores_BV.lerp(near_BV, knn_share)
        scores_BV[[row for row, history in enumerate(histories) if not len(history)]] = (
            self.popularity_V
        )
        scores_BV[:, :NUM_SPECIAL] = -1.0
        return scores_BV

    def _known(self, histories: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [history[history < self.items.vocab_size] for history in histories]

    def because(self, histories: Sequence[np.ndarray], ranked_BK: Tensor) -> Tensor:
        """Tokens [B, K] of the history's items that speak most for the ranked ones: those that
        users take before them, else those with the most similar embedding; 0 where there is
        none."""
        read_BT = left_padded([history[-MAX_READ:] for history in self._known(histories)])
        table_VE = self.network.embedding.weight.cpu()
        table_VE = torch.nn.functional.normalize(
            torch.cat([table_VE, self.assortment.embeddings(table_VE)]), dim=1
        )
        alike_BTK = table_VE[read_BT] @ table_VE[ranked_BK].transpose(1, 2)
        near_BTK = self.knn.nearness(read_BT, ranked_BK)
        # Cosines lie between -1 and 1: far below any item that was taken before.
        speaks_BTK = torch.where(near_BTK > 0, near_BTK + 2.0, alike_BTK)
        speaks_BTK[read_BT == PAD] = float("-inf")
        return read_BT.gather(1, speaks_BTK.argmax(dim=1))

    def _recommendation(self, token: int, score: float, because: int) -> Recommendation:
        ids = self.all_items.ids
        return Recommendation(
            ids[token - NUM_SPECIAL], score, ids[because - NUM_SPECIAL] if because else None
        )


def batches_by_length(histories: Sequence[np.ndarray]) -> Iterator[list[int]]:
    """Rows of histories to be scored at once: alike in length, so that little of a batch is
    padding."""
    order = sorted(range(len(histories)), key=lambda row: len(histories[row]))
    for start in range(0, len(order), BATCH_USERS):
        yield order[start : start + BATCH_USERS]
