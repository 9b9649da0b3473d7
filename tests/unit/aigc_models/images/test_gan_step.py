import pytest
import torch

from aigc_models.images.data import Batch, to_network
from aigc_models.images.gan_step import GANStep
from aigc_models.images.networks.gan import GAN, GANConfig, Generator
from aigc_models.images.settings import LOSSES, Loss, default_image_settings
from tests.unit.aigc_models.image_cases import TINY, squares

DATA = squares(32)
BATCH = Batch(to_network(DATA.images_BHWC), DATA.labels_B)


def step(loss: Loss, **changes: object) -> GANStep:
    torch.manual_seed(0)
    generator = Generator(GANConfig(image_px=28, num_colours=1, num_classes=2, **TINY["gan"]))
    settings = default_image_settings(
        "gan", loss=loss, precision="float32", device="cpu", **changes
    )
    return GANStep(GAN(generator, is_spectral=loss == "hinge"), settings)


def test_each_network_has_its_own_optimiser_for_all_its_weights() -> None:
    gan_step = step("hinge")
    of_each = [
        {id(p) for group in o.param_groups for p in group["params"]} for o in gan_step.optimisers
    ]
    assert not of_each[0] & of_each[1]
    assert of_each[0] | of_each[1] == {id(p) for p in gan_step.network.parameters()}
    assert of_each[1] == {id(p) for p in gan_step.network.generator.parameters()}


def test_training_the_generator_does_not_change_the_discriminator() -> None:
    gan_step = step("hinge")
    for group in gan_step.optimisers[0].param_groups:
        group["lr"] = 0.0
    before = [p.detach().clone() for p in gan_step.network.parameters()]
    gan_step(BATCH)
    moved = {
        name: not torch.equal(old, p)
        for old, (name, p) in zip(before, gan_step.network.named_parameters(), strict=True)
    }
    assert not any(moved[name] for name in moved if name.startswith("discriminator"))
    assert any(moved[name] for name in moved if name.startswith("generator"))
    assert all(p.requires_grad for p in gan_step.network.parameters())


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_generated_squares_are_in_the_corner_of_their_class(loss: Loss, augment: bool) -> None:
    gan_step = step(loss, learning_rate=3e-3, augment=augment)
    for number in range(150):
        torch.manual_seed(number)
        losses, num_images = gan_step(BATCH)
    assert num_images == 32
    assert list(losses) == ["discriminator", "generator"]
    generator = gan_step.network.generator
    noise_BZ = torch.randn(32, generator.noise_width)
    generator.calibrate([(noise_BZ, BATCH.labels_B)])
    with torch.no_grad():
        light_BHW = (generator.eval().generate(noise_BZ, BATCH.labels_B)[:, 0] + 1) / 2
    upper_left_B = light_BHW[:, :14, :14].sum(dim=(1, 2))
    lower_right_B = light_BHW[:, 14:, 14:].sum(dim=(1, 2))
    assert float(upper_left_B[0::2].mean()) > 2 * float(lower_right_B[0::2].mean())
    assert float(lower_right_B[1::2].mean()) > 2 * float(upper_left_B[1::2].mean())


def test_the_same_noise_gives_the_same_step() -> None:
    results = []
    for _ in range(2):
        gan_step = step("original", augment=True)
        torch.manual_seed(5)
        results.append(
            (gan_step(BATCH), [p.detach().clone() for p in gan_step.network.parameters()])
        )
    assert results[0][0] == results[1][0]
    assert all(
        torch.equal(first, second)
        for first, second in zip(results[0][1], results[1][1], strict=True)
    )
