"""A small image model, trained once, for all tests that need any."""

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aigc_models.images.checked import CheckedImageModel
from infra.settings import Settings
from infra.storage import Storage, open_storage
from tests.unit.workers.picture_files import drawings
from workers.inputs.snapshot import take_snapshot
from workers.models import MODELS
from workers.models.image_generator import LabelledPictures, read_pictures

DAY = date(2026, 11, 22)
DISC, CROSS = (0, "disc"), (1, "cross")
MODEL = MODELS["image_generator"]
TINY = {
    "max_steps": "20",
    "classifier_steps": "20",
    "num_scored": "40",
    "num_validations": "2",
    "precision": "float32",
}


def store_of(folder: Path, *tables: pa.Table) -> Storage:
    for number, table in enumerate(tables):
        path = folder / "inputs" / "images" / f"{number}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
    return open_storage(Settings(storage_uri=folder.as_uri()))


def read(storage: Storage, **settings: Any) -> LabelledPictures:
    return read_pictures(
        storage, [take_snapshot(storage, "images", DAY)], MODEL.parse_settings("", settings)
    )


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image-generator")
    pictures = read(store_of(folder / "store", drawings({DISC: 40, CROSS: 40})))
    settings = MODEL.parse_settings("vae", TINY)
    checkpoints: list[Path] = []
    metrics = MODEL.train(
        pictures,
        folder / "model",
        settings=settings,
        work_dir=folder / "work",
        on_progress=lambda progress: None,
        on_checkpoint=checkpoints.append,
    )
    assert MODEL.score(metrics) <= 1
    assert all(path.is_relative_to(folder / "work") for path in checkpoints)
    return folder


@pytest.fixture
def tiny_model(tiny_folder: Path) -> CheckedImageModel:
    return MODEL.load(tiny_folder / "model", "cpu")
