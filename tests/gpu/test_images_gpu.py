"""The image models on a CUDA device: mixed precision, and pictures that agree with the CPU's."""

from pathlib import Path

import pytest
import torch

from aigc_models.images.checked import CheckedImageModel, train_checked_image_model
from aigc_models.images.checks import Checks
from aigc_models.images.data import LabelledImages
from aigc_models.images.settings import FAMILIES, default_image_settings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

NAMES = ("left", "right")


def halves(num: int) -> LabelledImages:
    """Noise with a bright left or right half."""
    generator = torch.Generator().manual_seed(0)
    images_BHWC = torch.randint(0, 60, (num, 28, 28, 1), dtype=torch.uint8, generator=generator)
    labels_B = torch.arange(num) % 2
    images_BHWC[labels_B == 0, :, :14] += 150
    images_BHWC[labels_B == 1, :, 14:] += 150
    return LabelledImages(images_BHWC, labels_B)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_trained_on_the_gpu_makes_pictures_of_its_classes_there(
    family: str, tmp_path: Path
) -> None:
    settings = default_image_settings(
        family, max_steps=400, cpu_budget_s=None, num_scored=64, classifier_steps=40, device="cuda"
    )
    train_checked_image_model(
        halves(400), NAMES, tmp_path / "model", settings=settings, work_dir=tmp_path / "work"
    )
    model = CheckedImageModel.load(tmp_path / "model", device="cuda")
    labels = [0, 1] * 32
    found = list(model.generate(labels, range(64), Checks(reject_odd=False)))
    assert sorted(row for group in found for row in group.rows) == list(range(64))
    assert sum(not problems for group in found for problems in group.problems) >= 60
    drawn = model.model.sample(labels, range(64))
    assert torch.equal(drawn, model.model.sample(labels, range(64)))
    on_cpu = CheckedImageModel.load(tmp_path / "model").model.sample(labels, range(64))
    assert (drawn.int() - on_cpu.int()).abs().double().mean() < 2.0
