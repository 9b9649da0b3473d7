"""Tests with users of two tastes who take items in a fixed order, so that the next item is
certain."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from aigc_models.checkpoint import CheckpointError
from aigc_models.recommenders import model as recommender
from aigc_models.recommenders.data import ItemDataError
from aigc_models.recommenders.model import Recommender, batches_by_length
from aigc_models.recommenders.settings import FAMILIES
from aigc_models.recommenders.training import default_recommender_settings, train_recommender
from aigc_models.training.settings import TrainingProgress

BOOKS, GAMES = [f"book-{i}" for i in range(8)], [f"game-{i}" for i in range(8)]
HISTORIES = [
    (BOOKS if user % 2 else GAMES)[user % 4 : user % 4 + 3 + user % 3] for user in range(200)
]
TINY = {
    "width": 16,
    "max_steps": 150,
    "cpu_budget_s": None,
    "batch_tokens": 128,
    "num_negatives": 0,
    "num_scored": 10,
    "patience": 100,
}


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp(request.param)
    settings = default_recommender_settings(request.param, **TINY, learning_rate=1e-2, dropout=0.0)
    train_recommender(HISTORIES, base / "model", settings=settings, work_dir=base / "work")
    return base / "model"


def test_a_checkpoint_folder_is_complete(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        "weights.safetensors",
        "config.json",
        "metrics.json",
        "tensorboard",
    }
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert (metrics["num_histories"], metrics["num_items"]) == (200, 14)
    assert metrics["network_hr_10"] == metrics["knn_hr_10"] == 1.0
    assert metrics["sampled_ndcg_10"] >= metrics["ndcg_10"], (
        "all items that are not in the history are drawn"
    )
    assert 0.0 < metrics["coverage_10"] <= 1.0
    assert metrics["popularity_lift_10"] > -1.0


@pytest.mark.parametrize("knn_share", [0.0, 0.5, 1.0])
def test_the_usual_next_item_is_recommended_first_with_its_reason(
    folder: Path, knn_share: float
) -> None:
    model = Recommender.load(folder)
    model.knn_share = knn_share
    (found,) = model.recommend([["book-1", "book-2"]], 3)
    assert found[0].item == "book-3"
    assert found[0].because == "book-2"
    assert 1.0 >= found[0].score >= found[1].score >= found[2].score >= 0.0


def test_items_of_the_history_are_left_out_unless_requested(folder: Path) -> None:
    model, history = Recommender.load(folder), ["game-1", "game-2"]
    everything = model.recommend([history], 100)[0]
    assert len(everything) == 12
    assert not {found.item for found in everything} & set(history)
    assert len(model.recommend([history], 100, leave_out_seen=False)[0]) == 14


def test_unknown_items_and_empty_histories_are_served(folder: Path) -> None:
    model = Recommender.load(folder)
    unknown, empty, known = model.recommend([["?", "book-2"], [], ["book-2"]], 2)
    assert [found.item for found in unknown] == [found.item for found in known]
    assert all(found.because is None for found in empty)


def test_users_without_a_known_item_get_the_most_popular_ones(folder: Path) -> None:
    counts = Counter(item for history in HISTORIES for item in history)
    least = counts.most_common(5)[-1][1] - 3  # some last items are held out
    for found in Recommender.load(folder).recommend([[], ["?"]], 5):
        assert all(counts[row.item] >= least for row in found)
        assert found[0].score > found[-1].score > 0


def test_a_new_item_is_found_by_its_attributes_and_left_out_once_a_user_has_it(
    folder: Path,
) -> None:
    attributes = {f"book-{i}": frozenset({"kind=book", f"number={i}"}) for i in range(8)}
    attributes |= {"new": frozenset({"kind=book", "number=3"}), "strange": frozenset({"kind=song"})}
    model = Recommender.load(folder).for_catalog(attributes)
    (found,) = model.recommend([["book-1", "book-2"]], 16)
    assert {row.item for row in found[:2]} == {"book-3", "new"}
    assert {row.item for row in found} == attributes.keys() - {"book-1", "book-2"}
    assert next(row for row in found if row.item == "new").because in {"book-1", "book-2"}
    assert found[-1].score >= 0.0
    before = Recommender.load(folder).recommend([["book-1", "book-2"]], 1)[0][0]
    assert next(row for row in found if row.item == "book-3").score == pytest.approx(before.score)
    (later,) = model.recommend([["book-1", "book-2", "new"]], 16)
    assert "new" not in {row.item for row in later}
    assert {row.because for row in later} <= {"book-1", "book-2"}


def test_histories_of_like_length_share_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recommender, "BATCH_USERS", 2)
    histories = [np.zeros(length, dtype=np.int64) for length in (5, 1, 4, 0, 2)]
    assert list(batches_by_length(histories)) == [[3, 1], [4, 2], [0]]


def test_a_history_gets_the_same_items_alone_and_in_a_batch(folder: Path) -> None:
    model = Recommender.load(folder)
    histories = HISTORIES[:40]
    together = model.recommend(histories, 3)
    for history, found in list(zip(histories, together, strict=True))[:5]:
        alone = model.recommend([history], 3)[0]
        assert [row.item for row in alone] == [row.item for row in found]
        assert [row.score for row in alone] == pytest.approx([row.score for row in found], abs=1e-4)


def test_a_resumed_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    settings = default_recommender_settings("gpt", **TINY)
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    train_recommender(HISTORIES, whole / "model", settings=settings, work_dir=whole / "work")

    class Killed(Exception):
        pass

    def kill(progress: TrainingProgress) -> None:
        if progress.step == 100:
            raise Killed

    often = replace(settings, checkpoint_every_s=1e-9)
    with pytest.raises(Killed):
        train_recommender(
            HISTORIES,
            resumed / "model",
            settings=often,
            work_dir=resumed / "work",
            on_progress=kill,
        )
    train_recommender(HISTORIES, resumed / "model", settings=settings, work_dir=resumed / "work")
    expected = Recommender.load(whole / "model").network.state_dict()
    found = Recommender.load(resumed / "model").network.state_dict()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight)


def test_histories_that_are_too_short_are_refused(tmp_path: Path) -> None:
    settings = default_recommender_settings("gpt", **TINY)
    with pytest.raises(ItemDataError, match="0 histories have 3 or more items"):
        train_recommender(
            [["a"], ["b", "c"]], tmp_path / "m", settings=settings, work_dir=tmp_path / "w"
        )


def test_a_folder_without_a_recommender_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a complete checkpoint"):
        Recommender.load(tmp_path)
