from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from aigc_models.checkpoint import CheckpointError
from aigc_models.images import checked as checked_images
from aigc_models.images.checked import COPIES, CheckedImageModel, CheckedImages
from aigc_models.images.checks import Checks
from aigc_models.images.classifier import Classifier, save_classifier
from aigc_models.images.families import build_image_network
from aigc_models.images.filters import NearCopyFilter, OddityFilter
from aigc_models.images.model import ImageModel
from aigc_models.images.networks.autoencoder import Autoencoder, AutoencoderConfig
from aigc_models.images.training import CLASSIFIER
from aigc_models.seeds import derive_seed
from tests.unit.aigc_models.image_cases import LABEL_NAMES, TINY, squares

SHAPE = {"image_px": 28, "num_colours": 1, "num_classes": 2}
NO_LIMITS = Checks(num_candidates=1, reject_odd=False, reject_copies=False, reject_misread=False)


@pytest.fixture
def model() -> CheckedImageModel:
    torch.manual_seed(0)
    generator = ImageModel("vae", build_image_network("vae", SHAPE, TINY["vae"]), LABEL_NAMES)
    oddities = OddityFilter(
        Autoencoder(AutoencoderConfig(image_px=28, num_colours=1, width=8)), float("inf")
    )
    copies = NearCopyFilter.fit(squares(40).images_BHWC, squares(20, seed=1).images_BHWC)
    return CheckedImageModel(generator, oddities, copies, Classifier(1, 2).eval())


def rows_of(groups: list[CheckedImages]) -> dict[int, torch.Tensor]:
    found = {
        row: image
        for group in groups
        for row, image in zip(group.rows, group.images_BHWC, strict=True)
    }
    assert len(found) == sum(len(group.rows) for group in groups)
    return found


def test_every_row_is_yielded_once_in_batches_of_any_size(model: CheckedImageModel) -> None:
    labels, seeds = [i % 2 for i in range(300)], list(range(300))
    whole = rows_of(list(model.generate(labels, seeds, NO_LIMITS)))
    assert sorted(whole) == list(range(300))
    alone = rows_of(list(model.generate(labels[7:8], seeds[7:8], NO_LIMITS)))
    assert torch.equal(alone[0], whole[7])


def test_only_failed_rows_are_drawn_again(model: CheckedImageModel) -> None:
    labels, seeds = [0] * 60, list(range(60))
    first = list(model.generate(labels, seeds, NO_LIMITS))
    errors_B = torch.cat([group.errors_B for group in first])
    model.oddities.limit = float(errors_B.median())
    once = rows_of(list(model.generate(labels, seeds, replace(NO_LIMITS, reject_odd=True))))
    groups = list(
        model.generate(labels, seeds, replace(NO_LIMITS, reject_odd=True, num_candidates=5))
    )
    again = rows_of(groups)
    numbered = [pair for group in groups for pair in zip(group.rows, group.candidates, strict=True)]
    kept = [row for row, candidate in numbered if candidate == 1]
    assert 20 <= len(kept) < 60
    assert all(torch.equal(once[row], again[row]) for row in kept)
    assert not any(torch.equal(once[row], again[row]) for row in set(again) - set(kept))
    finished = [
        pair for group in groups for pair in zip(group.candidates, group.problems, strict=True)
    ]
    assert all(not problems for candidate, problems in finished if candidate < 5)


def test_the_first_candidate_that_passes_is_kept(model: CheckedImageModel) -> None:
    num_candidates, seeds = 4, list(range(20))
    tried = [
        derive_seed(seed, candidate) for seed in seeds for candidate in range(1, num_candidates + 1)
    ]
    errors_BN = model.oddities.errors(model.model.sample([0] * len(tried), tried)).view(
        len(seeds), num_candidates
    )
    model.oddities.limit = float(errors_BN.median())
    passed_BN = errors_BN <= model.oddities.limit
    passed_BN[:, -1] = True  # the last candidate is kept in any case
    checks = replace(NO_LIMITS, reject_odd=True, num_candidates=num_candidates)
    groups = list(model.generate([0] * len(seeds), seeds, checks))
    found = {
        row: candidate
        for group in groups
        for row, candidate in zip(group.rows, group.candidates, strict=True)
    }
    assert [found[row] for row in seeds] == (passed_BN.int().argmax(dim=1) + 1).tolist()
    assert len(set(found.values())) > 1


class Immediately(ThreadPoolExecutor):
    """Filters a batch before the next one is drawn."""

    def submit(self, call: Any, /, *args: Any, **named: Any) -> Future[Any]:
        future = super().submit(call, *args, **named)
        future.result()
        return future


def test_batches_do_not_depend_on_the_speed_of_the_filters(
    model: CheckedImageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checked_images, "CHECKED_AT_ONCE", 16)
    model.oddities.limit = float(
        model.oddities.errors(model.model.sample([0] * 64, range(64))).median()
    )
    checks = replace(NO_LIMITS, reject_odd=True, num_candidates=6)
    groups = [list(model.generate([0] * 100, list(range(100)), checks))]
    monkeypatch.setattr(checked_images, "ThreadPoolExecutor", Immediately)
    groups.append(list(model.generate([0] * 100, list(range(100)), checks)))
    found = [
        [(group.rows, group.candidates, group.errors_B.tolist()) for group in run] for run in groups
    ]
    assert found[0] == found[1]
    assert any(len(set(candidates)) > 1 for _, candidates, _ in found[0])


def test_the_last_candidate_stays_with_its_problems(model: CheckedImageModel) -> None:
    model.oddities.limit = -1.0
    groups = list(
        model.generate([0, 1], [1, 2], replace(NO_LIMITS, reject_odd=True, num_candidates=3))
    )
    assert {candidate for group in groups for candidate in group.candidates} == {3}
    assert all(problems[0].startswith("odd: ") for group in groups for problems in group.problems)


def test_pictures_that_a_classifier_misreads_are_drawn_again(
    model: CheckedImageModel,
) -> None:
    model.classifier.head.bias.data = torch.tensor([0.0, 1e6])
    groups = list(
        model.generate([0, 1], [1, 2], replace(NO_LIMITS, reject_misread=True, num_candidates=2))
    )
    problems = {
        row: found
        for group in groups
        for row, found in zip(group.rows, group.problems, strict=True)
    }
    assert problems == {
        0: ["misread: a classifier of real pictures takes it for lower right"],
        1: [],
    }


def test_a_copy_of_a_training_picture_is_found() -> None:
    training = squares(40).images_BHWC
    filter_ = NearCopyFilter.fit(torch.cat([training, training]), squares(20, seed=1).images_BHWC)
    assert len(filter_.training_NHWC) <= 40
    assert (filter_.ratios(training) < filter_.limit).float().mean() > 0.9
    assert (filter_.ratios(squares(20, seed=2).images_BHWC) < filter_.limit).float().mean() < 0.2


def test_a_loaded_model_gives_the_same_pictures_and_ratios(
    model: CheckedImageModel, tmp_path: Path
) -> None:
    model.model.save(tmp_path)
    model.oddities.save(tmp_path / "oddities")
    model.copies.save(tmp_path / COPIES)
    save_classifier(model.classifier, tmp_path / CLASSIFIER)
    (before,) = model.generate([0, 1], [5, 6], NO_LIMITS)
    (after,) = CheckedImageModel.load(tmp_path).generate([0, 1], [5, 6], NO_LIMITS)
    assert torch.equal(before.images_BHWC, after.images_BHWC)
    assert torch.equal(before.ratios_B, after.ratios_B)
    (tmp_path / COPIES / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"copies is not .* checkpoint: no config\.json"):
        CheckedImageModel.load(tmp_path)
