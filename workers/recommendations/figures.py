"""Figures about one night's recommendations: what the inputs held, and how good the ranking is."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from aigc_models.recommenders.data import Items
from aigc_models.recommenders.metrics import coverage, popularity_lift
from aigc_models.recommenders.networks import PAD
from workers.inputs.catalog import Catalog
from workers.inputs.histories import Histories


def count_inputs(
    histories: Histories,
    catalog: Catalog,
    *,
    num_active: int,
    num_unguided: int,
    num_known_products: int,
    active_days: int,
    max_history: int,
) -> dict[str, int]:
    """Counts of users, events and products, by display name.

    `num_unguided` users have no item that the model knows; `num_known_products` products are items
    that the model has learned. The names are stored in manifests.
    """
    table = histories.table
    num_distinct = pc.subtract(table["num_events"], table["num_repeated"])
    events_of_item = pc.list_flatten(table["items"]).value_counts().to_pylist()
    foreign = [pair for pair in events_of_item if pair["values"] not in catalog.row_of]
    active = f"with an event in the last {active_days} days" if active_days else "all"
    return {
        "users in the interactions": table.num_rows,
        f"users recommended to ({active})": num_active,
        "users with one event": _count(pc.equal(table["num_events"], 1)),
        f"users of whom only the newest {max_history:,} events count": _count(
            pc.greater(num_distinct, max_history)
        ),
        "users of whom nothing known is read: they get what is popular": num_unguided,
        "events up to the date": histories.total("num_events"),
        "events that were there twice, counted once": histories.total("num_repeated"),
        "events after the date, left out": histories.num_future,
        "items that the catalogue lacks: read, never recommended": len(foreign),
        "events of such items": sum(pair["counts"] for pair in foreign),
        "products of the catalogue": catalog.table.num_rows,
        "products without events, found by their attributes": (
            catalog.table.num_rows - num_known_products
        ),
    }


def _count(mask: pa.ChunkedArray) -> int:
    return int(pc.sum(mask).as_py() or 0)


def measure_ranking(
    ranked: Sequence[Sequence[str]], active: pa.Table, histories: pa.Table, catalog: Catalog
) -> Mapping[str, float]:
    """`coverage` and `popularity_lift` of the items `ranked` for each user of `active`.

    Empty if nothing was recommended to anybody. `active` and `histories` have the schema
    `HISTORIES`.
    """
    if not any(ranked):
        return {}
    taken = pc.list_flatten(histories["items"])
    items = Items(tuple(sorted({*taken.unique().to_pylist(), *catalog.row_of})))
    num_ranked = max(len(row) for row in ranked)
    padded = [items.tokens(row) + [PAD] * (num_ranked - len(row)) for row in ranked]
    ranked_BK = torch.tensor(padded)
    counts_V = np.bincount(items.tokens(taken.to_pylist()), minlength=items.vocab_size)
    tokens = [np.asarray(items.tokens(row), np.int64) for row in active["items"].to_pylist()]
    return {
        "coverage": coverage(ranked_BK, catalog.table.num_rows),
        "popularity_lift": popularity_lift(ranked_BK, tokens, counts_V),
    }
