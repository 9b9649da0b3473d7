"""One training step of a GAN: first the discriminator, then the generator, each with its own loss
and optimiser.

B batch, C colours, H height, W width, Z noise width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from aigc_models.device import autocast
from aigc_models.images.augmentation import augment
from aigc_models.images.data import Batch
from aigc_models.images.networks.gan import GAN
from aigc_models.images.settings import ImageTrainingSettings, Loss
from aigc_models.training.step import build_optimiser, descend


class GANStep:
    def __init__(self, network: GAN, settings: ImageTrainingSettings) -> None:
        self.network = network
        self.settings = settings
        self.device = next(network.parameters()).device
        self.optimisers = (
            build_optimiser(network.discriminator, settings),
            build_optimiser(network.generator, settings),
        )

    def __call__(self, batch: Batch) -> tuple[dict[str, Tensor], int]:
        labels_B = batch.labels_B
        generator = self.network.generator
        with autocast(self.settings.precision, self.device):
            noise_BZ = torch.randn(len(labels_B), generator.noise_width, device=self.device)
            made_BCHW = generator(noise_BZ, labels_B).float()
        losses = {
            "discriminator": self._train_discriminator(batch.inputs, made_BCHW.detach(), labels_B),
            "generator": self._train_generator(made_BCHW, labels_B),
        }
        return losses, len(labels_B)

    def _train_discriminator(
        self, real_BCHW: Tensor, made_BCHW: Tensor, labels_B: Tensor
    ) -> Tensor:
        with autocast(self.settings.precision, self.device):
            real_B = self._judge(real_BCHW, labels_B)
            made_B = self._judge(made_BCHW, labels_B)
            loss = discriminator_loss(real_B, made_B, self.settings.loss)
        descend(loss, self.optimisers[0], self.settings.max_gradient_norm)
        return loss.detach()

    def _train_generator(self, made_BCHW: Tensor, labels_B: Tensor) -> Tensor:
        # The generator's gradients pass through the discriminator, which needs none here.
        self.network.discriminator.requires_grad_(False)
        with autocast(self.settings.precision, self.device):
            loss = generator_loss(self._judge(made_BCHW, labels_B), self.settings.loss)
        descend(loss, self.optimisers[1], self.settings.max_gradient_norm)
        self.network.discriminator.requires_grad_(True)
        return loss.detach()

    def _judge(self, images_BCHW: Tensor, labels_B: Tensor) -> Tensor:
        if self.settings.augment:
            images_BCHW = augment(images_BCHW)
        logits_B: Tensor = self.network.discriminator(images_BCHW, labels_B)
        return logits_B


def discriminator_loss(real_B: Tensor, made_B: Tensor, loss: Loss) -> Tensor:
    """The loss of logits of real and of generated pictures.

    -log D(x) - log(1 - D(G(z))) (Goodfellow et al. 2014, eq. 1), or
    max(0, 1 - D(x)) + max(0, 1 + D(G(z))) (Miyato et al. 2018, eq. 16).
    """
    if loss == "hinge":
        return F.relu(1 - real_B).mean() + F.relu(1 + made_B).mean()
    return F.softplus(-real_B).mean() + F.softplus(made_B).mean()


def generator_loss(made_B: Tensor, loss: Loss) -> Tensor:
    """The loss of logits of generated pictures.

    -log D(G(z)), which does not saturate (Goodfellow et al. 2014, section 3), or
    -D(G(z)) (Miyato et al. 2018, eq. 17).
    """
    return -made_B.mean() if loss == "hinge" else F.softplus(-made_B).mean()
