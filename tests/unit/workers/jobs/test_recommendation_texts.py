from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from aigc_models.text.model import TextModel
from aigc_models.text.training import TrainingSettings, train_text_model
from infra.errors import InputError
from tests.unit.workers.kettle_texts import examples
from workers.generation.rows import RowGenerator, ShardRows
from workers.jobs.recommendation_texts import JOB
from workers.pins import ModelPin
from workers.recommendations.ranked_rows import RANKED

PIN = ModelPin("recommender", "v1", "0" * 64, "2026-11-22")
QUALITY = {"ndcg_10": 0.1, "hr_10": 0.2, "coverage": 0.5, "popularity_lift": 0.3}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TextModel:
    """Recommends kettles: one sentence with both of their facts, or with one of them."""
    folder = tmp_path_factory.mktemp("copywriter")
    texts = []
    for number, each in enumerate(examples(240)):
        name, kind, colour, volume = each.request.attributes
        head = f"I would take the {name[1]}, a kettle"
        one, other = f" that holds {volume[1]}", f" in {colour[1]}"
        stated = [(colour, volume), (colour,), (volume,)][number % 3]
        text = head + (other if colour in stated else "") + (one if volume in stated else "") + "."
        request = replace(each.request, intent="recommend", attributes=(name, kind, *stated))
        texts.append(replace(each, request=request, reference=text))
    settings = TrainingSettings(
        max_steps=300,
        cpu_budget_s=None,
        width=32,
        num_layers=2,
        num_heads=2,
        num_scored=5,
        dropout=0.0,
        learning_rate=1e-2,
        warmup_steps=10,
        ema_decay=0.9,
        batch_tokens=1024,
    )
    train_text_model(texts, folder / "model", settings=settings, work_dir=folder / "work")
    return TextModel.load(folder / "model")


def ranked(night: int, num_rows: int = 6) -> pa.Table:
    rows = []
    for number in range(num_rows):
        facts = {"colour": ("red", "green", "blue")[number % 3], "volume": f"1.{number} l"}
        rows.append(
            {
                "recommendation_id": f"r{number}",
                "user_id": f"user-{number}",
                "rank": 1,
                "item_id": f"k{number}",
                "score": 0.5,
                "because_item_id": None,
                "title": f"Kettle {number}",
                "category": "kettle",
                "attributes": [{"key": key, "value": value} for key, value in facts.items()],
                "shared": ["colour"],
                "night": night,
            }
        )
    return pa.Table.from_pylist(rows, RANKED)


def texts(model: TextModel, night: int, **settings: Any) -> list[str]:
    result = ShardRows(JOB)
    generator = RowGenerator(JOB, model, "v1", JOB.parse_settings(settings))
    generator.complete(result, ranked(night), 1, lambda done: None)
    assert result.num_quarantined == 0, result.first_error()
    table = result.table()
    assert table.schema.equals(JOB.schema)
    assert table.num_rows == 6, result.quarantine()["error"].to_pylist()
    assert table["user_id"].to_pylist() == [f"user-{number}" for number in range(6)]
    return table["text"].to_pylist()


def test_each_row_is_recommended_by_name_and_nobody_is_named(model: TextModel) -> None:
    for number, text in enumerate(texts(model, 739000)):
        assert f"Kettle {number}" in text
        assert "user" not in text
    assert texts(model, 739000) == texts(model, 739000)


def test_sentences_do_not_repeat_on_later_nights_unless_allowed(model: TextModel) -> None:
    nights = [texts(model, night) for night in (739000, 739001, 739002)]
    for of_one_row in zip(*nights, strict=True):
        assert len(set(of_one_row)) == 3
    again = [texts(model, night, repeat_sentences=True) for night in (739000, 739001)]
    assert again[0] == again[1]


def test_the_error_of_an_unknown_intent_lists_the_learned_ones(model: TextModel) -> None:
    with pytest.raises(
        InputError,
        match=r"not learned the intent 'praise'.* choose one of recommend with --set intent=…",
    ):
        JOB.generate(model, ranked(1), range(6), JOB.parse_settings({"intent": "praise"}))


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("num_items", 0, "must be at least 1"),
        ("active_days", -1, "active_days must be at least 0"),
        ("history_engine", "spark", "history_engine"),
        ("facts_per_sentence", 0, "facts_per_sentence must be at least 1"),
    ],
)
def test_bad_settings_are_refused(setting: str, value: object, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        JOB.parse_settings({setting: value})


def test_quality_is_of_the_texts_and_of_the_ranking() -> None:
    meter = JOB.meter()
    meter.add(pa.RecordBatch.from_pydict({"text": ["a red kettle", "a blue kettle"]}))
    quality = meter.quality((), {"quality": QUALITY})
    assert quality | QUALITY == quality
    assert (quality["mean_length"], quality["duplicate_share"]) == (3.0, 0.0)
    assert {gate.figure for gate in JOB.gates} <= {*quality, "passed_share"}
