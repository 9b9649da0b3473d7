from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aigc_models.images.checked import CheckedImageModel
from infra.errors import InputError
from infra.storage.parquet import encode
from workers.generation.rows import RowGenerator, ShardRows
from workers.inputs.pictures import open_picture
from workers.jobs import JOBS

JOB = JOBS["product_images"]
FILTERS_OFF = {"reject_odd": False, "reject_copies": False, "reject_misread": False}


def ordered(num: int, name: str = "cross") -> pa.Table:
    return pa.table(
        {
            "image_id": [f"2026-11-22-1-{number:06d}" for number in range(num)],
            "label": pa.array([1] * num, pa.int64()),
            "label_name": [name] * num,
        }
    )


def made(model: CheckedImageModel, num: int, **settings: object) -> ShardRows:
    result = ShardRows(JOB)
    generator = RowGenerator(JOB, model, "v1", JOB.parse_settings(settings))
    generator.complete(result, ordered(num), 1, lambda done: None)
    return result


def test_rows_are_pictures_with_their_labels_in_the_hugging_face_convention(
    tiny_model: CheckedImageModel,
) -> None:
    rows = made(tiny_model, 5, **FILTERS_OFF).table()
    assert rows.schema.equals(JOB.schema)
    assert b'"_type": "Image"' in rows.schema.metadata[b"huggingface"]
    first = rows.to_pylist()[0]
    assert open_picture(first["image"]["bytes"]).size == (16, 16)
    assert (first["image"]["path"], first["label_name"]) == ("2026-11-22-1-000000.png", "cross")
    assert encode(rows, JOB.schema, {})[:4] == b"PAR1"


def test_a_picture_does_not_depend_on_the_batch(tiny_model: CheckedImageModel) -> None:
    whole, pieces = (made(tiny_model, 140, batch_rows=n, **FILTERS_OFF) for n in (140, 33))
    assert whole.table()["image"].equals(pieces.table()["image"])
    assert len(set(whole.table()["image"].to_pylist()[0]["bytes"])) > 1


def test_pictures_that_several_threads_encode_are_the_same(tiny_model: CheckedImageModel) -> None:
    one, three = (made(tiny_model, 600, threads=n, **FILTERS_OFF).table() for n in (1, 3))
    assert three["image"].equals(one["image"])


def test_rows_without_a_good_candidate_are_rejected_with_the_reason(
    tiny_model: CheckedImageModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tiny_model.oddities, "limit", 0.0)
    result = made(tiny_model, 3, num_candidates=2)
    assert (result.table().num_rows, result.num_rejected) == (0, 3)
    assert result.quarantine()["error"].to_pylist()[0].startswith("odd: reconstruction error")


def test_a_class_that_the_model_never_saw_is_named(tiny_model: CheckedImageModel) -> None:
    settings = JOB.parse_settings({})
    with pytest.raises(InputError, match=r"not learned the class 'star': retrain it"):
        JOB.generate(tiny_model, ordered(1, "star"), [1], settings)


@pytest.mark.parametrize(
    ("given", "message"),
    [({"amount": "lots"}, "amount: found 'lots'"), ({"num_candidates": "0"}, "num_c")],
)
def test_bad_settings_are_named(given: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        JOB.parse_settings(given)


def test_real_readers_see_pictures(tiny_model: CheckedImageModel, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    table = made(tiny_model, 3, **FILTERS_OFF).table()
    (tmp_path / "part.parquet").write_bytes(encode(table, JOB.schema, {}))
    found = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "part.parquet"), cache_dir=str(tmp_path / "cache")
    )
    assert np.asarray(found["train"][0]["image"]).shape == (16, 16)
