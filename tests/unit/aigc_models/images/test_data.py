import pytest
import torch

from aigc_models.images.data import (
    EpochSchedule,
    ImageDataError,
    LabelledImages,
    check_labels,
    check_split,
    mirror,
    shift,
    split,
    to_network,
    to_pixels,
)
from tests.unit.aigc_models.image_cases import LABEL_NAMES, squares


def test_pixels_survive_the_round_trip() -> None:
    pixels_BHWC = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1)
    images_BCHW = to_network(pixels_BHWC)
    assert (float(images_BCHW.min()), float(images_BCHW.max())) == (-1.0, 1.0)
    assert torch.equal(to_pixels(images_BCHW), pixels_BHWC)


def test_both_sides_of_a_split_have_every_class() -> None:
    data = squares(22)
    rare = LabelledImages(
        torch.cat([data.images_BHWC, data.images_BHWC[:2]]),
        torch.cat([data.labels_B, torch.tensor([2, 2])]),
    )
    training, held_out = split(rare, 0.2, seed=0)
    assert torch.bincount(training.labels_B).tolist() == [9, 9, 1]
    assert torch.bincount(held_out.labels_B).tolist() == [2, 2, 1]


def test_a_class_with_one_picture_is_named() -> None:
    with pytest.raises(ImageDataError, match="lower right"):
        check_labels(torch.tensor([0, 0, 1]), LABEL_NAMES)


def test_two_held_out_and_two_different_training_pictures_are_needed() -> None:
    data = squares(8)
    same = data.select(torch.zeros(8, dtype=torch.int64))
    check_split(data, same)
    with pytest.raises(ImageDataError, match="at least two are held out"):
        check_split(data, data.select(torch.tensor([0])))
    with pytest.raises(ImageDataError, match="at least two different ones"):
        check_split(same, data)


@pytest.mark.parametrize("labels", [[], [0, 0, 1, 1, 2], [-1, 0, 0, 1, 1]])
def test_labels_without_a_name_are_refused(labels: list[int]) -> None:
    with pytest.raises(ImageDataError, match="between 0 and 1"):
        check_labels(torch.tensor(labels, dtype=torch.int64), LABEL_NAMES)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 28, 28, 1),
        torch.zeros(2, 28, 20, 1, dtype=torch.uint8),
        torch.zeros(2, 28, 28, dtype=torch.uint8),
    ],
)
def test_pictures_of_another_shape_or_type_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(ImageDataError, match="uint8"):
        LabelledImages(images, torch.zeros(2, dtype=torch.int64))


def test_every_epoch_has_every_row_once_in_another_order() -> None:
    schedule = EpochSchedule(12, 4, seed=0)
    epochs = [
        torch.cat([schedule.rows_at(3 * epoch + step) for step in range(3)]) for epoch in range(2)
    ]
    assert all(epoch.sort().values.tolist() == list(range(12)) for epoch in epochs)
    assert not torch.equal(*epochs)
    assert torch.equal(EpochSchedule(12, 4, seed=0).rows_at(4), epochs[1][4:8])


def test_an_epoch_drops_an_incomplete_last_batch() -> None:
    schedule = EpochSchedule(10, 4, seed=0)
    epochs = [
        torch.cat([schedule.rows_at(2 * epoch + step) for step in range(2)]) for epoch in range(20)
    ]
    assert all(len(epoch.unique()) == 8 for epoch in epochs)
    assert len(torch.cat(epochs).unique()) == 10


def test_shifts_move_whole_pictures_by_a_few_pixels() -> None:
    torch.manual_seed(0)
    images_BCHW = torch.zeros(50, 1, 8, 8)
    images_BCHW[:, :, 4, 4] = 1.0
    moved_BCHW = shift(images_BCHW, 2)
    places = {tuple(place) for place in torch.nonzero(moved_BCHW)[:, 2:].tolist()}
    assert torch.equal(moved_BCHW.sum(dim=(1, 2, 3)), torch.ones(50))
    assert places <= {(y, x) for y in range(2, 7) for x in range(2, 7)}
    assert len(places) > 10


def test_mirrored_pictures_are_the_picture_or_its_mirror_image() -> None:
    torch.manual_seed(0)
    images_BCHW = torch.arange(4.0).expand(40, 1, 4, 4)
    is_mirrored = mirror(images_BCHW)[:, 0, 0, 0] == 3.0
    assert torch.equal(mirror(images_BCHW).sum(), images_BCHW.sum())
    assert 5 < int(is_mirrored.sum()) < 35
