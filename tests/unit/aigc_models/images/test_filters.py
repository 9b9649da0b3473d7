from pathlib import Path

import pytest
import torch

from aigc_models.checkpoint import CheckpointError
from aigc_models.images.filters import (
    RECONSTRUCTED_AT_ONCE,
    NearCopyFilter,
    OddityFilter,
    train_oddity_filter,
)
from aigc_models.images.networks.autoencoder import Autoencoder, AutoencoderConfig
from aigc_models.training.settings import LoopSettings
from tests.unit.aigc_models.image_cases import batches_held, squares

SETTINGS = LoopSettings(
    max_steps=120, cpu_budget_s=None, device="cpu", warmup_steps=10, ema_decay=0.9
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> OddityFilter:
    torch.set_num_threads(1)
    return train_oddity_filter(squares(300), SETTINGS, tmp_path_factory.mktemp("oddities"))


def test_odd_pictures_are_found_and_real_ones_are_not(trained: OddityFilter) -> None:
    noise = torch.randint(0, 256, (40, 28, 28, 1), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )
    assert (trained.errors(noise) > trained.limit).all()
    assert (trained.errors(squares(100, seed=1).images_BHWC) > trained.limit).double().mean() < 0.15


def test_a_loaded_filter_gives_the_same_errors(trained: OddityFilter, tmp_path: Path) -> None:
    trained.save(tmp_path)
    loaded = OddityFilter.load(tmp_path)
    pictures = squares(20, seed=1).images_BHWC
    assert loaded.limit == trained.limit
    assert torch.equal(loaded.errors(pictures), trained.errors(pictures))
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match="oddity filter"):
        OddityFilter.load(tmp_path)


def test_pictures_are_reconstructed_batch_by_batch() -> None:
    network = Autoencoder(AutoencoderConfig(image_px=28, num_colours=1, width=8))
    held = batches_held(network)
    assert (
        len(OddityFilter(network, 0.0).errors(squares(2 * RECONSTRUCTED_AT_ONCE + 1).images_BHWC))
        > 0
    )
    assert held == [1, 1, 1]


def test_near_copies_are_found_and_unseen_pictures_are_not() -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (500, 8, 8, 1), generator=generator).to(torch.uint8)
    training, held_out, unseen = pictures[:300], pictures[300:400], pictures[400:]
    copies = NearCopyFilter.fit(training, held_out)
    assert (copies.ratios(training[:50]) < copies.limit).all()
    assert (copies.ratios(unseen) < copies.limit).double().mean() < 0.1
