import math

import pytest
import torch
from torch import Tensor, nn

from aigc_models.images.families import build_image_network
from aigc_models.images.networks.flow import (
    SIGMA_MIN,
    FlowConfig,
    LatentFlow,
    flow_matching_loss,
    flow_pair,
)
from tests.unit.aigc_models.image_cases import SHAPES, TINY, network_batch


def tiny(image_px: int = 28, num_colours: int = 1) -> LatentFlow:
    torch.manual_seed(0)
    shape = {"image_px": image_px, "num_colours": num_colours, "num_classes": 2}
    network = build_image_network("flow", shape, TINY["flow"])
    assert isinstance(network, LatentFlow)
    return network


class Pull(nn.Module):
    """dx/dt = -x, whose solution is e^-t."""

    def modulations(self, time_B: Tensor, labels_B: Tensor) -> list[Tensor]:
        return []

    def at(self, x_BZ: Tensor, modulations: list[Tensor]) -> Tensor:
        return -x_BZ


@pytest.mark.parametrize(("image_px", "num_colours"), SHAPES)
def test_pictures_have_their_shape(image_px: int, num_colours: int) -> None:
    images_BCHW, labels_B = network_batch(3, image_px, num_colours)
    assert (
        tiny(image_px, num_colours).generate(torch.randn(3, 4), labels_B).shape == images_BCHW.shape
    )


def test_the_path_and_its_velocity_are_those_of_the_paper() -> None:
    latents_BZ, noise_BZ = torch.tensor([[3.0]]), torch.tensor([[1.0]])
    time_B = torch.tensor([0.25])
    point_BZ, velocity_BZ = flow_pair(latents_BZ, noise_BZ, time_B)
    assert float(point_BZ) == pytest.approx((1 - (1 - SIGMA_MIN) * 0.25) * 1.0 + 0.25 * 3.0)
    assert float(velocity_BZ) == pytest.approx(3.0 - (1 - SIGMA_MIN) * 1.0)


def test_the_loss_of_no_movement_is_the_mean_square_of_the_velocity() -> None:
    network = tiny().velocity  # starts with zero everywhere
    loss = flow_matching_loss(
        network, torch.full((50_000, 4), 2.0), torch.zeros(50_000, dtype=torch.int64)
    )
    assert float(loss.detach()) == pytest.approx(4.0 + (1 - SIGMA_MIN) ** 2, rel=0.02)


def test_an_untrained_flow_samples_the_autoencoders_gaussians() -> None:
    network = tiny().eval()
    noise_BZ, labels_B = torch.randn(3, 4), torch.tensor([0, 1, 0])
    assert torch.equal(
        network.generate(noise_BZ, labels_B), network.vae.generate(noise_BZ, labels_B)
    )


def test_the_integral_is_of_second_order() -> None:
    errors = []
    for num_steps in (4, 8):
        network = LatentFlow(FlowConfig(vae=tiny().config.vae, num_sampling_steps=num_steps))
        network.velocity = Pull()  # type: ignore[assignment]  # a field whose integral is known
        end_BZ = network.integrate(torch.ones(1, 4), torch.zeros(1, dtype=torch.int64))
        errors.append(abs(float(end_BZ[0, 0]) - math.exp(-1.0)))
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.2)


@pytest.mark.parametrize("num_rows", [2, 9])  # as many rows as classes, and more
def test_the_integral_is_that_of_the_whole_network(num_rows: int) -> None:
    network = tiny().eval()
    for parameter in network.velocity.parameters():
        nn.init.normal_(parameter, std=0.1)
    x_BZ, labels_B = torch.randn(num_rows, 4), torch.arange(num_rows) % 2
    end_BZ, step = network.integrate(x_BZ, labels_B), 1 / network.config.num_sampling_steps
    for i in range(network.config.num_sampling_steps):
        slope = network.velocity(x_BZ, torch.full((num_rows,), i * step), labels_B)
        slope_after = network.velocity(
            x_BZ + step * slope, torch.full((num_rows,), (i + 1) * step), labels_B
        )
        x_BZ = x_BZ + step * (slope + slope_after) / 2
    torch.testing.assert_close(end_BZ, x_BZ)


def test_two_points_can_be_learned_by_heart() -> None:
    network = tiny()
    optimiser = torch.optim.Adam(network.velocity.parameters(), lr=5e-3)
    labels_B = torch.arange(256) % 2
    latents_BZ = torch.where(labels_B[:, None] == 0, torch.tensor(-2.0), torch.tensor(2.0)).expand(
        256, 4
    )
    for _ in range(200):
        loss = flow_matching_loss(network.velocity, latents_BZ, labels_B)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        end_BZ = network.integrate(torch.randn(256, 4), labels_B)
    assert float((end_BZ - latents_BZ).abs().mean()) < 0.3
