"""Recommends items that were not in the training data, by their similarity to known items.

A new item's score is the mean of those of the known items with the most similar attributes, by the
cosine of the attributes' weights. An attribute's weight is log(V / number of items that have it).
This is the mapping by neighbours of Gantner et al. (2010).

C new items, S known items that are not sold, V known items and special tokens, A attributes, N
neighbours, B batch, E width.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from aigc_models.recommenders.data import Items
from aigc_models.recommenders.networks import NUM_SPECIAL

Attributes = Mapping[str, frozenset[str]]
"""The attributes of each item. They are only compared for equality."""
NUM_NEIGHBOURS = 10
COMPARED_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Assortment:
    """How a catalogue differs from the known items: which are new, and which are not sold."""

    ids: tuple[str, ...]
    """Of the new items."""
    neighbours_CN: Tensor
    """Tokens of known items, the most similar first."""
    weights_CN: Tensor
    """The neighbours' shares of the score. 0 if there are no more, and all 0 for an item that is
    similar to none."""
    not_sold_S: Tensor
    """Tokens."""

    def scores(self, scores_BV: Tensor) -> Tensor:
        """Scores [B, C] of the new items from those of the known ones."""
        return self._means(scores_BV.T).T

    def embeddings(self, table_VE: Tensor) -> Tensor:
        """Embeddings [C, E] of the new items from those of the known ones."""
        return self._means(table_VE)

    def _means(self, rows_VX: Tensor) -> Tensor:
        num_new, num_neighbours = self.neighbours_CN.shape
        places = torch.stack(
            [torch.arange(num_new).repeat_interleave(num_neighbours), self.neighbours_CN.flatten()]
        )
        weights_CV = torch.sparse_coo_tensor(
            places, self.weights_CN.flatten(), (num_new, len(rows_VX)), check_invariants=True
        )
        return weights_CV.to(rows_VX.device) @ rows_VX


KNOWN_ITEMS = Assortment(
    (), torch.zeros(0, 1, dtype=torch.int64), torch.zeros(0, 1), torch.zeros(0, dtype=torch.int64)
)
"""The assortment that has exactly the known items."""


def compare(known: Items, attributes: Attributes) -> Assortment:
    """Compares the catalogue of `attributes` with the known items; new items keep its order."""
    ids = tuple(item for item in attributes if item not in known.token_of)
    names = sorted({name for item in known.ids for name in attributes.get(item, ())})
    column_of = {name: column for column, name in enumerate(names)}
    known_VA = _membership([attributes.get(item, frozenset()) for item in known.ids], column_of)
    counts_A = torch.sparse.sum(known_VA, dim=0).to_dense()
    idf_A = (len(known) / counts_A.clamp_min(1)).log()
    num_neighbours = min(NUM_NEIGHBOURS, len(known))
    known_norms_V = (known_VA @ idf_A.square()[:, None])[:, 0].sqrt().clamp_min(1e-12)
    tokens = [torch.zeros(0, num_neighbours, dtype=torch.int64)]
    weights = [torch.zeros(0, num_neighbours)]
    for start in range(0, len(ids), COMPARED_AT_ONCE):
        batch = ids[start : start + COMPARED_AT_ONCE]
        new_CA = _membership([attributes[item] for item in batch], column_of).to_dense()
        new_norms_C = (new_CA * idf_A).norm(dim=1).clamp_min(1e-12)
        cosines_VC = known_VA @ (new_CA * idf_A.square()).T / known_norms_V[:, None] / new_norms_C
        nearest = cosines_VC.T.topk(num_neighbours, dim=1)
        totals_C1 = nearest.values.sum(dim=1, keepdim=True)
        tokens.append(nearest.indices + NUM_SPECIAL)
        weights.append(nearest.values / totals_C1.clamp_min(1e-12))
    not_sold = [token for item, token in known.token_of.items() if item not in attributes]
    return Assortment(
        ids, torch.cat(tokens), torch.cat(weights), torch.tensor(not_sold, dtype=torch.int64)
    )


def _membership(rows: list[frozenset[str]], column_of: Mapping[str, int]) -> Tensor:
    """A sparse matrix [items, attributes] that is 1 if an item has an attribute."""
    pairs = [
        (row, column_of[name])
        for row, names in enumerate(rows)
        for name in sorted(names)
        if name in column_of
    ]
    places = torch.tensor(pairs, dtype=torch.int64).view(-1, 2).T
    return torch.sparse_coo_tensor(
        places, torch.ones(len(pairs)), (len(rows), len(column_of)), check_invariants=True
    ).coalesce()
