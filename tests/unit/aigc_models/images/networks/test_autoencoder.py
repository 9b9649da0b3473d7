import pytest
import torch

from aigc_models.images.data import to_network
from aigc_models.images.networks.autoencoder import (
    Autoencoder,
    AutoencoderConfig,
    coarsest_px,
    num_halvings,
    reconstruction_errors,
)
from tests.unit.aigc_models.image_cases import SHAPES, network_batch, squares


@pytest.mark.parametrize(("image_px", "num_colours"), SHAPES)
def test_pictures_keep_their_shape_and_range(image_px: int, num_colours: int) -> None:
    images_BCHW, _ = network_batch(3, image_px, num_colours)
    reconstructed = Autoencoder(AutoencoderConfig(image_px=image_px, num_colours=num_colours))(
        images_BCHW
    )
    assert reconstructed.shape == images_BCHW.shape
    assert reconstructed.abs().max() <= 1


@pytest.mark.parametrize(
    ("image_px", "halvings", "coarsest"), [(28, 2, 7), (32, 2, 8), (64, 3, 8), (16, 1, 8)]
)
def test_sides_are_halved_down_to_at_most_eight(
    image_px: int, halvings: int, coarsest: int
) -> None:
    assert (num_halvings(image_px), coarsest_px(image_px)) == (halvings, coarsest)


@pytest.mark.parametrize(
    "wrong", [{"image_px": 30}, {"image_px": 8}, {"num_colours": 4}, {"width": 12}]
)
def test_shapes_that_do_not_fit_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"image_px|colours|width"):
        AutoencoderConfig(**{"image_px": 28, "num_colours": 1, **wrong})


def test_one_batch_can_be_learned_by_heart() -> None:
    torch.manual_seed(0)
    network = Autoencoder(AutoencoderConfig(image_px=28, num_colours=1, width=8))
    images_BCHW = to_network(squares(8).images_BHWC)
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    errors = []
    for _ in range(80):
        loss = reconstruction_errors(images_BCHW, network(images_BCHW)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        errors.append(float(loss.detach()))
    assert errors[-1] < errors[0] / 20


def test_the_error_is_the_mean_of_squares_of_each_picture() -> None:
    images_BCHW = torch.zeros(2, 1, 2, 2)
    reconstructed_BCHW = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]], [[[1.0, 1.0], [-1.0, 1.0]]]])
    assert reconstruction_errors(images_BCHW, reconstructed_BCHW).tolist() == [0.25, 1.0]
