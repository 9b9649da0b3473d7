"""One training step of a GAN: the discriminator first, then the generator, each with its own loss
and optimiser.

B batch, C colours, H height, W width, Z noise width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from aigc_models.device import autocast
from aigc_models.images.augmentation import augmented
from aigc_models.images.data import Batch
from aigc_models.images.networks.gan import GAN
from aigc_models.images.settings import ImageTrainingSettings, Loss
from aigc_models.training.loop import build_optimiser, descend


class GANStep:
    def __init__(self, network: GAN, settings: ImageTrainingSettings) -> None:
        self.network, self.settings = network, settings
        self.device = next(network.parameters()).device
        self.optimisers = tuple(
            build_optimiser(part, settings) for part in (network.discriminator, network.generator)
        )

    def __call__(self, batch: Batch) -> tuple[dict[str, Tensor], int]:
        generator, discriminator, loss = (
            self.network.generator,
            self.network.discriminator,
            self.settings.loss,
        )
        of_discriminator, of_generator = self.optimisers
        clip, labels_B = self.settings.max_gradient_norm, batch.labels_B
        with autocast(self.settings.precision, self.device):
            noise_BZ = torch.randn(len(labels_B), generator.noise_width, device=self.device)
            made_BCHW = generator(noise_BZ, labels_B).float()
            real_B = discriminator(self.shown(batch.inputs), labels_B)
            made_B = discriminator(self.shown(made_BCHW.detach()), labels_B)
            lost = discriminator_loss(real_B, made_B, loss)
        descend(lost, of_discriminator, clip)
        discriminator.requires_grad_(False)
        with autocast(self.settings.precision, self.device):
            won = generator_loss(discriminator(self.shown(made_BCHW), labels_B), loss)
        descend(won, of_generator, clip)
        discriminator.requires_grad_(True)
        return {"discriminator": lost.detach(), "generator": won.detach()}, len(labels_B)

    def shown(self, images_BCHW: Tensor) -> Tensor:
        """Pictures as the discriminator sees them."""
        return augmented(images_BCHW) if self.settings.augment else images_BCHW


def discriminator_loss(real_B: Tensor, made_B: Tensor, loss: Loss) -> Tensor:
    """Of logits of real and of made pictures: -log D(x) - log(1 - D(G(z))) (Goodfellow et al. 2014,
    eq. 1), or max(0, 1 - D(x)) + max(0, 1 + D(G(z))) (Miyato et al. 2018, eq. 16)."""
    if loss == "hinge":
        return F.relu(1 - real_B).mean() + F.relu(1 + made_B).mean()
    return F.softplus(-real_B).mean() + F.softplus(made_B).mean()


def generator_loss(made_B: Tensor, loss: Loss) -> Tensor:
    """Of logits of made pictures: -log D(G(z)), which does not saturate (Goodfellow et al. 2014,
    section 3), or -D(G(z)) (Miyato et al. 2018, eq. 17)."""
    return -made_B.mean() if loss == "hinge" else F.softplus(-made_B).mean()
