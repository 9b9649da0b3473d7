from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from aigc_models.images.checked import CheckedImageModel
from infra.errors import InputError
from tests.unit.workers.conftest import CROSS, DAY, DISC, MODEL, TINY, read, store_of
from tests.unit.workers.picture_files import SCHEMA, drawings
from workers.inputs.snapshot import take_snapshot
from workers.models import image_generator as generator


def test_a_version_has_a_sheet_of_samples_and_figures_for_people(tiny_folder: Path) -> None:
    assert (tiny_folder / "model" / generator.SAMPLES).read_bytes().startswith(b"\x89PNG")


def test_a_rival_is_measured_on_held_out_pictures_unless_its_classes_or_size_differ(
    tiny_model: CheckedImageModel, tiny_folder: Path, tmp_path: Path
) -> None:
    settings = MODEL.parse_settings("vae", TINY)
    same = read(store_of(tmp_path / "same", drawings({DISC: 30, CROSS: 30}, seed=1)))
    assert set(MODEL.figures.values()) <= MODEL.evaluate(tiny_model, same, settings).keys()
    larger = read(store_of(tmp_path / "larger", drawings({DISC: 9, CROSS: 9}, px=32)))
    assert MODEL.evaluate(tiny_model, larger, settings) == {}


def test_grey_and_coloured_pictures_together_become_rgb(tmp_path: Path) -> None:
    tables = drawings({DISC: 2, CROSS: 2}), drawings({DISC: 1, CROSS: 1}, seed=1, mode="RGB")
    pictures = read(store_of(tmp_path, *tables))
    assert tuple(pictures.data.images_BHWC.shape) == (6, 16, 16, 3)
    assert pictures.label_names == ("disc", "cross")
    assert sorted(pictures.data.labels_B.tolist()) == [0, 0, 0, 1, 1, 1]


def test_labels_need_not_start_at_zero(tmp_path: Path) -> None:
    pictures = read(store_of(tmp_path, drawings({(5, "x"): 2, (9, "y"): 3})))
    assert sorted(pictures.data.labels_B.tolist()) == [0, 0, 1, 1, 1]


def test_mixed_sizes_are_refused_unless_one_is_asked_for(tmp_path: Path) -> None:
    storage = store_of(
        tmp_path, drawings({DISC: 2, CROSS: 2}), drawings({DISC: 2, CROSS: 2}, px=20)
    )
    with pytest.raises(
        InputError,
        match=r"image_px=32`: found 16 x 16 in .*0.parquet, row 1; 20 x 20 in .*1.parquet",
    ):
        read(storage)
    assert read(storage, image_px=32).data.images_BHWC.shape[1:] == (32, 32, 1)


def broken() -> pa.Table:
    rows = drawings({DISC: 2, CROSS: 2}).to_pylist()
    rows[1]["image"]["bytes"] = rows[1]["image"]["bytes"][:60]
    return pa.Table.from_pylist(rows, SCHEMA)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (lambda: drawings({DISC: 3}), "all of one class, 'disc'"),
        (lambda: drawings({DISC: 3, CROSS: 1}), r"too few pictures to learn from.*: cross \(1\)"),
        (broken, r"0.parquet, row 2, column image: found a damaged PNG"),
    ],
    ids=["one-class", "one-picture", "damaged"],
)
def test_pictures_that_are_useless_for_training_are_refused(
    tmp_path: Path, table: Callable[[], pa.Table], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read(store_of(tmp_path, table()))


def test_for_few_pictures_a_vae_learns_from_augmented_ones(tmp_path: Path) -> None:
    storage = store_of(tmp_path, drawings({DISC: 30, CROSS: 5}))
    found = MODEL.survey(storage, [take_snapshot(storage, "images", DAY)])
    assert found == {"images_per_class": 5, "family": "vae"}
    assert MODEL.parse_settings("", {}, survey=found).family == "vae"
    assert MODEL.parse_settings("gan", {}, survey=found).family == "gan"
    assert (
        MODEL.parse_settings("vae", {}, survey=found).shift_px
        > MODEL.parse_settings("vae", {}).shift_px
    )
    assert MODEL.parse_settings("vae", {"shift_px": "1"}, survey=found).shift_px == 1


def test_an_even_share_of_each_class_is_read_from_too_many_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator, "MAX_IMAGES", 20)
    pictures = read(store_of(tmp_path, drawings({DISC: 50, CROSS: 5})))
    assert pictures.data.labels_B.bincount().tolist() == [10, 5]
