from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from infra.errors import InputError
from infra.settings import Settings
from infra.storage import Storage, open_storage
from infra.storage.parquet import encode
from workers.inputs.histories import EVENTS
from workers.inputs.snapshot import take_snapshot
from workers.models import MODELS
from workers.pins import Snapshot
from workers.training.train import plan_training

MODEL, DAY = MODELS["recommender"], date(2026, 11, 22)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
TINY = {"max_steps": 30, "cpu_budget_s": None, "width": 8, "batch_tokens": 64, "num_scored": 5}


def store_of(folder: Path, histories: list[list[str]], *, days_later: int = 0) -> Storage:
    storage = open_storage(Settings(storage_uri=folder.as_uri()))
    rows = [
        {
            "user_id": f"u{user:03}",
            "item_id": item,
            "event_time": NOON + timedelta(days=days_later, seconds=place - 100),
            "event_type": "purchase",
        }
        for user, history in enumerate(histories)
        for place, item in enumerate(history)
    ]
    table = pa.Table.from_pylist(rows, EVENTS)
    storage.put("inputs/interactions/a.parquet", encode(table, table.schema, {}))
    return storage


def snapshots(storage: Storage) -> list[Snapshot]:
    return [take_snapshot(storage, "interactions", DAY)]


def test_it_learns_what_comes_after_what_and_a_rival_is_measured_alike(tmp_path: Path) -> None:
    storage = store_of(
        tmp_path / "store", [[f"i{(user + step) % 9}" for step in range(5)] for user in range(60)]
    )
    training = plan_training(storage, MODEL.name, "gru", DAY, TINY)
    histories = MODEL.read_examples(storage, training.snapshots, training.settings)
    assert histories[3] == ["i3", "i4", "i5", "i6", "i7"]
    silent = {"on_progress": lambda progress: None, "on_checkpoint": lambda path: None}
    metrics = MODEL.train(
        histories,
        tmp_path / "model",
        settings=training.settings,
        work_dir=tmp_path / "work",
        **silent,
    )
    assert set(MODEL.figures.values()) <= metrics.keys()
    model = MODEL.load(tmp_path / "model", "cpu")
    assert model.recommend([["i1", "i2"]], 1)[0][0].item == "i3"
    rival = MODEL.evaluate(model, histories, training.settings)
    assert MODEL.score(rival) == pytest.approx(1.0), "what comes next is plain"
    others = [[f"other{item}" for item in history] for history in histories]
    assert MODEL.score(MODEL.evaluate(model, others, training.settings)) == 0.0, (
        "it knows none of these items"
    )
    beyond = [[*(f"i{place}" for place in range(9)), "new"] for _ in range(60)]
    metrics = MODEL.evaluate(model, beyond, training.settings)
    assert MODEL.score(metrics) == metrics["coverage_10"] == 0.0, "users have all that it knows"


def test_events_after_the_cut_are_not_examples(tmp_path: Path) -> None:
    storage = store_of(tmp_path, [["a", "b", "c"]], days_later=1)
    with pytest.raises(InputError, match="every event of interactions is from after"):
        MODEL.read_examples(storage, snapshots(storage), MODEL.parse_settings("", {}))


def test_too_few_histories_are_refused_by_name(tmp_path: Path) -> None:
    storage = store_of(tmp_path / "store", [["a", "b"], ["c"]])
    settings = MODEL.parse_settings("", TINY)
    with pytest.raises(
        InputError,
        match="the interactions cannot be learned from: 0 histories have 3 or more items",
    ):
        MODEL.train(
            MODEL.read_examples(storage, snapshots(storage), settings),
            tmp_path / "model",
            settings=settings,
            work_dir=tmp_path / "work",
            on_progress=lambda progress: None,
            on_checkpoint=lambda path: None,
        )
