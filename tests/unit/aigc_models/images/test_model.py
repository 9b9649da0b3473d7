from pathlib import Path

import pytest
import torch
from torch import nn

from aigc_models.checkpoint import CheckpointError
from aigc_models.images.families import build_image_network, default_latent_width
from aigc_models.images.model import BATCH_IMAGES, ImageModel
from aigc_models.images.settings import FAMILIES
from tests.unit.aigc_models.image_cases import LABEL_NAMES, TINY

SHAPE = {"image_px": 28, "num_colours": 1, "num_classes": 2}


def model(family: str) -> ImageModel:
    torch.manual_seed(0)
    network = build_image_network(family, SHAPE, TINY[family])
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.3)  # new weights give almost equal pictures
    return ImageModel(family, network, LABEL_NAMES)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_gives_the_same_pictures(family: str, tmp_path: Path) -> None:
    saved = model(family)
    saved.save(tmp_path)
    loaded = ImageModel.load(tmp_path)
    assert loaded.label_names == LABEL_NAMES
    assert loaded.family == family
    assert torch.equal(loaded.sample([0, 1, 0], [1, 2, 3]), saved.sample([0, 1, 0], [1, 2, 3]))
    assert {path.name for path in tmp_path.iterdir()} == {"weights.safetensors", "config.json"}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_picture_depends_only_on_its_seed_and_label(family: str) -> None:
    sampler = model(family)
    num = BATCH_IMAGES + 40
    labels, seeds = [i % 2 for i in range(num)], list(range(100, 100 + num))
    together = sampler.sample(labels, seeds)
    assert together.shape == (num, 28, 28, 1)
    assert together.dtype == torch.uint8
    for i in (0, 7, num - 1):
        assert torch.equal(sampler.sample([labels[i]], [seeds[i]])[0], together[i])
    backwards = sampler.sample(labels[::-1], seeds[::-1])
    assert torch.equal(backwards.flip(0), together)
    assert len(together.flatten(1).unique(dim=0)) == num


def test_invalid_requests_are_refused() -> None:
    sampler = model("vae")
    with pytest.raises(ValueError, match="row seeds"):
        sampler.sample([0, 1], [1])
    with pytest.raises(ValueError, match="between 0 and 1"):
        sampler.sample([2], [1])
    with pytest.raises(ValueError, match="must not be empty"):
        sampler.sample([], [])


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    model("vae").save(tmp_path)
    (tmp_path / "config.json").write_text('{"family": "gpt"}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="not an image model checkpoint"):
        ImageModel.load(tmp_path)
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no weights\.safetensors"):
        ImageModel.load(tmp_path)


def test_larger_pictures_have_more_latents() -> None:
    assert [default_latent_width(*shape) for shape in ((28, 1), (32, 3), (64, 3))] == [32, 128, 256]
