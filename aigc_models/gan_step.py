"""One training step of a GAN: the discriminator first, then the generator, each with its own loss and optimiser.

B batch, C colours, H height, W width, Z noise width.
"""

import torch
from torch import Tensor

from aigc_models.device import autocast
from aigc_models.gan import GAN, discriminator_loss, generator_loss
from aigc_models.image_augmentation import augmented
from aigc_models.image_data import Batch
from aigc_models.image_settings import ImageTrainingSettings
from aigc_models.loop import build_optimiser, descend


class GANStep:
    def __init__(self, network: GAN, settings: ImageTrainingSettings) -> None:
        self.network, self.settings = network, settings
        self.device = next(network.parameters()).device
        self.optimisers = tuple(build_optimiser(part, settings) for part in (network.discriminator, network.generator))

    def __call__(self, batch: Batch) -> tuple[dict[str, Tensor], int]:
        generator, discriminator, loss = self.network.generator, self.network.discriminator, self.settings.loss
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
