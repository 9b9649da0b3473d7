import torch

from aigc_models.images.augmentation import augment, cut_out, recolour, shift_dark
from tests.unit.aigc_models.image_cases import network_batch


def test_every_picture_is_changed_and_keeps_its_shape() -> None:
    for image_px, num_colours in ((28, 1), (32, 3)):
        images_BCHW, _ = network_batch(8, image_px, num_colours)
        torch.manual_seed(0)
        changed_BCHW = augment(images_BCHW)
        assert changed_BCHW.shape == images_BCHW.shape
        assert all(
            not torch.equal(before, after)
            for before, after in zip(images_BCHW, changed_BCHW, strict=True)
        )


def test_shifted_pictures_are_windows_of_pictures_with_dark_edges() -> None:
    images_BCHW, _ = network_batch(20, 28, 3)
    torch.manual_seed(0)
    moves = set()
    for picture, after in zip(images_BCHW, shift_dark(images_BCHW, 2), strict=True):
        wide = torch.full((3, 32, 32), -1.0)
        wide[:, 2:30, 2:30] = picture
        found = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if torch.equal(wide[:, y : y + 28, x : x + 28], after)
        ]
        assert len(found) == 1
        moves |= set(found)
    assert len(moves) > 5


def test_the_square_has_at_most_half_the_side() -> None:
    torch.manual_seed(0)
    is_cut_BHW = (cut_out(torch.ones(50, 1, 28, 28)) == 0)[:, 0]
    assert int(is_cut_BHW.sum(dim=(1, 2)).max()) <= 14 * 14
    assert int(is_cut_BHW.sum(dim=(1, 2)).min()) > 0


def test_grey_pictures_stay_grey_when_recoloured() -> None:
    images_BCHW, _ = network_batch(4, 28, 1)
    torch.manual_seed(0)
    changed_BCHW = recolour(images_BCHW.expand(-1, 3, -1, -1))
    torch.testing.assert_close(changed_BCHW[:, 0], changed_BCHW[:, 2])


def test_gradients_reach_the_pixels_that_remain() -> None:
    images_BCHW = torch.zeros(4, 3, 28, 28, requires_grad=True)
    torch.manual_seed(0)
    augment(images_BCHW).sum().backward()
    assert images_BCHW.grad is not None
    assert images_BCHW.grad.isfinite().all()
    assert float((images_BCHW.grad != 0).double().mean()) > 0.5
