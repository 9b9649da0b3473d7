import math

import pytest
import torch

from aigc_models.images.data import to_network
from aigc_models.images.networks.vae import VAE, VAEConfig, kl_divergence, vae_loss
from tests.unit.aigc_models.image_cases import SHAPES, network_batch, squares


def tiny(image_px: int = 28, num_colours: int = 1) -> VAE:
    torch.manual_seed(0)
    return VAE(
        VAEConfig(
            image_px=image_px, num_colours=num_colours, num_classes=2, latent_width=4, width=8
        )
    )


@pytest.mark.parametrize(("image_px", "num_colours"), SHAPES)
def test_reconstructions_and_samples_have_the_shape_of_pictures(
    image_px: int, num_colours: int
) -> None:
    network = tiny(image_px, num_colours)
    images_BCHW, labels_B = network_batch(3, image_px, num_colours)
    reconstructed, mean, log_variance = network(images_BCHW, labels_B)
    assert reconstructed.shape == images_BCHW.shape
    assert mean.shape == log_variance.shape == (3, 4)
    assert network.generate(torch.zeros(3, 4), labels_B).shape == images_BCHW.shape


def test_the_divergence_is_the_one_of_the_paper() -> None:
    # -1/2 [(1 + 0 - 0 - 1) + (1 + ln 4 - 9 - 4)] = 6 - ln 2
    divergence = kl_divergence(torch.tensor([[0.0, 3.0]]), torch.tensor([[0.0, math.log(4.0)]]))
    assert divergence.tolist() == pytest.approx([6 - math.log(2.0)])


def test_the_divergence_is_the_one_of_torch() -> None:
    torch.manual_seed(0)
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    wanted = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(
        dim=1
    )
    torch.testing.assert_close(kl_divergence(mean, log_variance), wanted)


def test_the_loss_is_half_the_logarithm_of_the_error_and_the_divergence_per_pixel() -> None:
    images_BCHW, reconstructed_BCHW = torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.5)
    loss = vae_loss(images_BCHW, reconstructed_BCHW, torch.tensor([[2.0]]), torch.zeros(1, 1))
    assert float(loss) == pytest.approx(0.5 * math.log(0.25) + 2.0 / 4)


def test_the_gaussian_of_a_class_is_that_of_its_latents() -> None:
    network = tiny()
    torch.manual_seed(1)
    mix_ZZ = torch.randn(4, 4)
    mean_NZ = torch.randn(40_000, 4) @ mix_ZZ + 3.0
    labels_N = torch.arange(40_000) % 2
    network.fit_prior(mean_NZ, torch.full_like(mean_NZ, math.log(0.25)), labels_N)
    covariance_ZZ = network.factor_KZZ[1] @ network.factor_KZZ[1].T
    torch.testing.assert_close(
        covariance_ZZ, mix_ZZ.T @ mix_ZZ + 0.25 * torch.eye(4), rtol=0.05, atol=0.05
    )
    torch.testing.assert_close(network.mean_KZ[1], torch.full((4,), 3.0), rtol=0, atol=0.05)
    noise_BZ = torch.randn(6, 4)
    labels_B = torch.tensor([0, 1] * 3)
    torch.testing.assert_close(
        network.whiten(network.colour(noise_BZ, labels_B), labels_B), noise_BZ
    )


def test_a_class_with_one_picture_has_a_gaussian() -> None:
    network = tiny()
    network.fit_prior(torch.ones(3, 4), torch.zeros(3, 4), torch.tensor([0, 0, 1]))
    assert torch.equal(network.factor_KZZ[1], torch.eye(4))


def test_one_batch_can_be_learned_by_heart() -> None:
    network, data = tiny(), squares(8)
    images_BCHW = to_network(data.images_BHWC)
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    losses = []
    for _ in range(100):
        loss = vae_loss(images_BCHW, *network(images_BCHW, data.labels_B))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 1.0
