import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from aigc_models.images.data import ImageDataError
from aigc_models.images.model import ImageModel
from aigc_models.images.settings import FAMILIES, ImageTrainingSettings
from aigc_models.images.training import default_image_settings, train_image_model
from aigc_models.training.settings import TrainingProgress
from tests.unit.aigc_models.image_cases import LABEL_NAMES, TINY, squares

DATA = squares(120)


def settings(family: str, **changes: Any) -> Any:
    tiny = {
        "max_steps": 24,
        "cpu_budget_s": None,
        "device": "cpu",
        "batch_size": 16,
        "num_scored": 40,
    }
    rest = {
        "network": TINY[family],
        "num_validations": 2,
        "samples_every": 1,
        "precision": "float32",
        "classifier_steps": 20,
    }
    return default_image_settings(family, **{**tiny, **rest, **changes})


def train(folder: Path, work_dir: Path, wanted: Any, **callbacks: Any) -> dict[str, float]:
    return train_image_model(
        DATA.images_BHWC,
        DATA.labels_B,
        LABEL_NAMES,
        folder,
        settings=wanted,
        work_dir=work_dir,
        **callbacks,
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_resumed_training_ends_with_the_same_model(family: str, tmp_path: Path) -> None:
    wanted = settings(family, checkpoint_every_s=1e-9)
    seen: list[TrainingProgress] = []

    def crash_late(progress: TrainingProgress) -> None:
        seen.append(progress)
        if progress.fraction > 0.75:
            raise InterruptedError

    metrics = train(tmp_path / "a", tmp_path / "work_a", wanted)
    with pytest.raises(InterruptedError):
        train(tmp_path / "b", tmp_path / "work_b", wanted, on_progress=crash_late)
    train(tmp_path / "b", tmp_path / "work_b", wanted)
    for name in ("weights.safetensors", "config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert metrics["steps"] == 24
    assert [progress.fraction for progress in seen] == sorted(
        progress.fraction for progress in seen
    )


def test_a_checkpoint_folder_is_complete_and_has_grids_of_samples(tmp_path: Path) -> None:
    states: list[Path] = []
    train(tmp_path / "model", tmp_path / "work", settings("flow"), on_checkpoint=states.append)
    assert ImageModel.load(tmp_path / "model").sample([0, 1], [1, 2]).shape == (2, 28, 28, 1)
    metrics = json.loads((tmp_path / "model" / "metrics.json").read_text(encoding="utf-8"))
    assert {"fcd", "fcd_floor", "cas", "cas_real", "near_copy_share", "diversity"} <= set(metrics)
    assert [path.parent.name for path in states] == ["autoencoder", "generator"]
    for stage in ("autoencoder", "generator"):
        events = EventAccumulator(str(tmp_path / "model" / "tensorboard" / stage)).Reload()
        assert events.Tags()["images"] == ["samples"]


def test_a_classifier_can_learn_from_the_pictures_of_a_flow(tmp_path: Path) -> None:
    options = {
        "vae": {"latent_width": 8, "width": 8},
        "width": 64,
        "num_blocks": 2,
        "num_sampling_steps": 4,
    }
    wanted = settings(
        "flow", max_steps=300, network=options, num_validations=4, classifier_steps=40
    )
    metrics = train(tmp_path / "model", tmp_path / "work", wanted)
    assert metrics["cas"] > 0.9
    assert metrics["duplicate_share"] == 0.0


def test_a_class_with_one_picture_is_refused_by_name(tmp_path: Path) -> None:
    labels_B = torch.zeros(120, dtype=torch.int64)
    labels_B[0] = 1
    with pytest.raises(ImageDataError, match="lower right"):
        train_image_model(
            DATA.images_BHWC,
            labels_B,
            LABEL_NAMES,
            tmp_path,
            settings=settings("vae"),
            work_dir=tmp_path / "work",
        )


def test_a_single_class_of_few_pictures_is_refused_before_training(tmp_path: Path) -> None:
    few = DATA.select(torch.arange(0, 10, 2))
    with pytest.raises(ImageDataError, match="at least two are held out"):
        train_image_model(
            few.images_BHWC,
            few.labels_B,
            ["one"],
            tmp_path,
            settings=settings("vae"),
            work_dir=tmp_path / "work",
        )
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"family": "gpt"},
        {"batch_size": 1},
        {"validation_share": 1.0},
        {"autoencoder_share": 0.0},
        {"loss": "least"},
        {"shift_px": -1},
        {"classifier_steps": 5},
    ],
)
def test_invalid_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must (not )?be"):
        ImageTrainingSettings(**wrong)


@pytest.mark.parametrize("family", FAMILIES)
def test_few_pictures_are_shifted_unless_a_change_says_otherwise(family: str) -> None:
    assert default_image_settings(family, images_per_class=20).shift_px > 0
    assert default_image_settings(family, images_per_class=20, shift_px=0).shift_px == 0
    assert default_image_settings(family, images_per_class=1000) == default_image_settings(family)
