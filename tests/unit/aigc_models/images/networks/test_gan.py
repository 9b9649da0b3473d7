import math

import pytest
import torch
from torch import nn

from aigc_models.images.gan_step import discriminator_loss, generator_loss
from aigc_models.images.networks.gan import GAN, Discriminator, GANConfig, Generator
from aigc_models.images.settings import LOSSES, Loss
from tests.unit.aigc_models.image_cases import SHAPES, TINY, network_batch


def tiny(image_px: int = 28, num_colours: int = 1) -> Generator:
    torch.manual_seed(0)
    return Generator(
        GANConfig(image_px=image_px, num_colours=num_colours, num_classes=2, **TINY["gan"])
    )


def batches(num: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(2)
    return [(torch.randn(16, 4, generator=generator), torch.arange(16) % 2) for _ in range(num)]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("image_px", "num_colours"), SHAPES)
def test_pictures_and_logits_have_their_shape(image_px: int, num_colours: int, loss: Loss) -> None:
    images_BCHW, labels_B = network_batch(3, image_px, num_colours)
    network = GAN(tiny(image_px, num_colours), is_spectral=loss == "hinge")
    made_BCHW = network.generator(torch.randn(3, 4), labels_B)
    assert made_BCHW.shape == images_BCHW.shape
    assert made_BCHW.abs().max() <= 1
    assert network.discriminator(images_BCHW, labels_B).shape == (3,)


def test_the_original_losses_are_those_of_the_paper() -> None:
    real_B, made_B = torch.tensor([0.0, 2.0]), torch.tensor([0.0, -1.0])
    sure, unsure = 1 / (1 + math.exp(-2.0)), 1 / (1 + math.exp(1.0))  # D = σ(logit)
    wanted = -(math.log(0.5) + math.log(sure)) / 2 - (math.log(0.5) + math.log(1 - unsure)) / 2
    assert float(discriminator_loss(real_B, made_B, "original")) == pytest.approx(wanted)
    assert float(generator_loss(made_B, "original")) == pytest.approx(
        -(math.log(0.5) + math.log(unsure)) / 2
    )


def test_the_hinge_is_that_of_the_paper() -> None:
    real_B, made_B = torch.tensor([0.5, 3.0]), torch.tensor([-4.0, 1.0])
    assert float(discriminator_loss(real_B, made_B, "hinge")) == pytest.approx(
        (0.5 + 0.0) / 2 + (0.0 + 2.0) / 2
    )
    assert float(generator_loss(made_B, "hinge")) == pytest.approx(1.5)


def test_the_original_loss_does_not_saturate_where_the_discriminator_is_sure() -> None:
    made_B = torch.tensor([-20.0], requires_grad=True)
    generator_loss(made_B, "original").backward()
    assert made_B.grad is not None
    assert float(made_B.grad) == pytest.approx(-1.0, abs=1e-6)


def test_the_hinges_discriminator_has_layers_of_spectral_norm_one() -> None:
    discriminator = Discriminator(tiny().config, is_spectral=True)
    images_BCHW, labels_B = network_batch(4, 28, 1)
    for _ in range(100):  # each is one power iteration
        discriminator(images_BCHW, labels_B)
    discriminator.eval()
    layers = [
        layer
        for layer in discriminator.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding)
    ]
    assert len(layers) == 5
    for layer in layers:
        assert float(
            torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
        ) == pytest.approx(1.0, rel=0.02)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in discriminator.modules())


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_reach_every_weight_of_both(loss: Loss) -> None:
    network = GAN(tiny(), is_spectral=loss == "hinge")
    images_BCHW, labels_B = network_batch(6, 28, 1)
    made_B = network.discriminator(network.generator(torch.randn(6, 4), labels_B), labels_B)
    real_B = network.discriminator(images_BCHW, labels_B)
    (discriminator_loss(real_B, made_B.detach(), loss) + generator_loss(made_B, loss)).backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
    assert all(
        float(weight.grad.abs().sum()) > 0 for weight in network.generator.convolutions.parameters()
    )


def test_pictures_and_logits_depend_on_the_class() -> None:
    network = GAN(tiny(), is_spectral=True).eval()
    images_BCHW, _ = network_batch(2, 28, 1)
    noise_BZ = torch.randn(2, 4)
    ones_B, zeros_B = torch.tensor([1, 1]), torch.tensor([0, 0])
    assert not torch.equal(
        network.generator(noise_BZ, zeros_B), network.generator(noise_BZ, ones_B)
    )
    assert not torch.equal(
        network.discriminator(images_BCHW, zeros_B), network.discriminator(images_BCHW, ones_B)
    )


def test_calibrated_norms_have_the_mean_statistics_of_their_batches() -> None:
    network = tiny().eval()
    seen: list[torch.Tensor] = []
    norm = network.norms[0].norm
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    network.calibrate(batches(5))
    means = torch.stack([x.mean(dim=(0, 2, 3)) for x in seen]).mean(dim=0)
    variances = torch.stack([x.var(dim=(0, 2, 3)) for x in seen]).mean(dim=0)
    torch.testing.assert_close(norm.running_mean, means, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, variances, rtol=1e-4, atol=1e-5)
    assert not network.training
    before = network.generate(*batches(1)[0])
    network.calibrate(batches(5))  # from the start again
    assert torch.equal(network.generate(*batches(1)[0]), before)


def test_invalid_sizes_are_refused() -> None:
    for wrong in ({"width": 0}, {"noise_width": 0}, {"image_px": 30}, {"num_colours": 2}):
        with pytest.raises(ValueError, match=r"must|have 1 or 3"):
            GANConfig(**{"image_px": 28, "num_colours": 1, "num_classes": 2, **wrong})
