"""A class-conditional generative adversarial network of convolutions (Goodfellow et al. 2014;
Radford et al. 2016).

The generator is conditioned by its norms' gains (de Vries et al. 2017), the discriminator by a
projection (Miyato and Koyama 2018). With the hinge loss, the discriminator's layers have spectral
norm 1 (Miyato et al. 2018).

B batch, C colours, H height, W width, F features of a scale, Z noise width, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from aigc_models.images.networks.autoencoder import (
    append_labels,
    check_image_shape,
    coarsest_px,
    feature_widths,
)

LEAK = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class GANConfig:
    image_px: int
    num_colours: int
    """1: grey; 3: RGB."""
    num_classes: int
    noise_width: int = 64
    width: int = 48
    """Features of the generator at half the side; each further halving doubles them."""
    discriminator_width: int = 48

    def __post_init__(self) -> None:
        check_image_shape(self.image_px, self.num_colours)
        if min(self.noise_width, self.width, self.discriminator_width, self.num_classes) < 1:
            raise ValueError(
                "noise_width, width, discriminator_width and num_classes must be positive"
            )


class ConditionalBatchNorm(nn.Module):
    """Batch normalisation with a gain and a shift for each class."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width, affine=False)
        self.gain = nn.Embedding(num_classes, width)
        self.shift = nn.Embedding(num_classes, width)
        nn.init.zeros_(self.gain.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x_BFHW: Tensor, labels_B: Tensor) -> Tensor:
        gain_BF11 = self.gain(labels_B)[:, :, None, None]
        shift_BF11 = self.shift(labels_B)[:, :, None, None]
        return self.norm(x_BFHW) * (1 + gain_BF11) + shift_BF11


class Generator(nn.Module):
    def __init__(self, config: GANConfig) -> None:
        super().__init__()
        self.config = config
        self.noise_width = config.noise_width
        widths = feature_widths(config.image_px, config.width)[::-1]
        num_classes = config.num_classes
        self.px = coarsest_px(config.image_px)
        self.first = nn.Linear(config.noise_width + num_classes, widths[0] * self.px**2)
        self.norms = nn.ModuleList(
            ConditionalBatchNorm(features, num_classes) for features in widths
        )
        self.convolutions = nn.ModuleList(
            nn.ConvTranspose2d(features, after, 4, stride=2, padding=1)
            for features, after in zip(widths, [*widths[1:], config.num_colours], strict=True)
        )

    def forward(self, noise_BZ: Tensor, labels_B: Tensor) -> Tensor:
        """Pictures in [-1, 1]."""
        x_BF = self.first(append_labels(noise_BZ, labels_B, self.config.num_classes))
        x_BFHW = x_BF.unflatten(1, (-1, self.px, self.px))
        x_BFHW = x_BFHW.contiguous(memory_format=torch.channels_last)
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            x_BFHW = convolution(F.relu(norm(x_BFHW, labels_B)))
        return x_BFHW.tanh()

    def generate(self, noise_BZ: Tensor, labels_B: Tensor) -> Tensor:
        images_BCHW: Tensor = self(noise_BZ, labels_B)
        return images_BCHW

    @torch.no_grad()
    def calibrate(self, batches: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Recomputes the norms' statistics from batches of noise and labels.

        Averaged weights need this, since the statistics from training belong to other weights.
        """
        norms = [module for module in self.modules() if isinstance(module, nn.BatchNorm2d)]
        momenta = [norm.momentum for norm in norms]
        was_training = self.training
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # average all batches with equal weights
        self.train()
        for noise_BZ, labels_B in batches:
            self(noise_BZ, labels_B)
        self.train(was_training)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


class Discriminator(nn.Module):
    """Maps pictures and classes to logits, above 0 for pictures that look real."""

    def __init__(self, config: GANConfig, *, is_spectral: bool) -> None:
        super().__init__()
        width = config.discriminator_width
        widths = [width, *feature_widths(config.image_px, 2 * width)]
        layers: list[nn.Module] = []
        before, px = config.num_colours, config.image_px
        for scale, features in enumerate(widths):
            layers.append(nn.Conv2d(before, features, 4, stride=2, padding=1))
            if scale > 0 and not is_spectral:
                layers.append(nn.BatchNorm2d(features))
            layers.append(nn.LeakyReLU(LEAK))
            before = features
            px //= 2
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Linear(before * px * px, 1)
        self.label = nn.Embedding(config.num_classes, before * px * px)
        if is_spectral:
            for module in [*self.layers, self.head, self.label]:
                if hasattr(module, "weight"):
                    spectral_norm(module)

    def forward(self, images_BCHW: Tensor, labels_B: Tensor) -> Tensor:
        features_BF = self.layers(images_BCHW.contiguous(memory_format=torch.channels_last))
        projection_B = (self.label(labels_B) * features_BF).sum(dim=1)
        logits_B: Tensor = self.head(features_BF)[:, 0] + projection_B
        return logits_B.float()


class GAN(nn.Module):
    """A generator and its discriminator, which are trained together. Only the generator is kept."""

    def __init__(self, generator: Generator, *, is_spectral: bool) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = Discriminator(generator.config, is_spectral=is_spectral)

    def compile(self, **options: Any) -> None:
        self.generator.compile(**options)
        self.discriminator.compile(**options)
