"""The model that ranks items for users, and how its training histories are read."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigc_models.recommenders.settings import (
    FAMILIES,
    QUICK,
    RecommenderSettings,
    default_recommender_settings,
)
from infra.errors import InputError
from infra.storage import Storage
from workers.model import ModelDeclaration
from workers.pins import Snapshot

if TYPE_CHECKING:
    from aigc_models.recommenders.model import Recommender

MAX_EVENTS = 1000
"""Newest events of each user to learn from."""
History = list[str]


def read_histories(
    storage: Storage, snapshots: list[Snapshot], _: RecommenderSettings
) -> list[History]:
    """Each user's items before the cut, oldest first; users sorted by id."""
    from workers.inputs.histories import build_histories

    (snapshot,) = snapshots
    built = build_histories(lambda: storage, snapshot, max_items=MAX_EVENTS)
    histories: list[History] = built.table["items"].to_pylist()
    if not histories:
        raise InputError(
            f"every event of interactions is from after {snapshot.cut[:10]}: "
            "there is nothing to learn from"
        )
    return histories


def survey(_: Storage, snapshots: list[Snapshot]) -> dict[str, Any]:
    return {"num_events": sum(snapshot.num_rows for snapshot in snapshots)}


def train(histories: list[History], folder: Path, **arguments: Any) -> dict[str, float]:
    from aigc_models.recommenders.data import ItemDataError
    from aigc_models.recommenders.training import train_recommender

    try:
        return train_recommender(histories, folder, **arguments)
    except ItemDataError as exc:
        raise InputError(f"the interactions cannot be learned from: {exc}") from exc


def evaluate(
    model: "Recommender", histories: list[History], settings: RecommenderSettings
) -> dict[str, float]:
    from aigc_models.recommenders.training import evaluate_recommender

    return evaluate_recommender(model, histories, settings)


def load(folder: Path, device: str) -> "Recommender":
    from aigc_models.recommenders.model import Recommender

    return Recommender.load(folder, device=device)


def score(metrics: Mapping[str, float]) -> float:
    """NDCG@10 of held-out items."""
    return metrics["ndcg_10"]


MODEL = ModelDeclaration(
    name="recommender",
    version=2,
    unit="items",
    tables=("interactions",),
    families=FAMILIES,
    default_settings=default_recommender_settings,
    survey=survey,
    quick=QUICK,
    read_examples=read_histories,
    train=train,
    load=load,
    evaluate=evaluate,
    score=score,
    figures={
        "NDCG@10": "ndcg_10",
        "HR@10": "hr_10",
        "of item-kNN": "knn_ndcg_10",
        "of the network": "network_ndcg_10",
        "share of item-kNN": "knn_share",
        "coverage": "coverage_10",
        "popularity lift": "popularity_lift_10",
    },
)
