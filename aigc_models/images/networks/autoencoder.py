"""A convolutional encoder and decoder of pictures, and an autoencoder of both (Hinton and
Salakhutdinov 2006).

Normalised by groups (Wu and He 2018), so that a picture does not depend on its batch.

B batch, C colours, H height, W width, F features of a scale, Z latent width, K classes.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

COARSEST_PX = 8
NORM_GROUPS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoencoderConfig:
    image_px: int
    num_colours: int
    """1: grey; 3: RGB."""
    latent_width: int = 16
    width: int = 16
    """Features at half the side; each further halving doubles them."""

    def __post_init__(self) -> None:
        check_image_shape(self.image_px, self.num_colours)
        if self.width < NORM_GROUPS or self.width % NORM_GROUPS or self.latent_width < 1:
            raise ValueError(f"width must be a multiple of {NORM_GROUPS} and latent_width positive")


def check_image_shape(image_px: int, num_colours: int) -> None:
    if num_colours not in (1, 3):
        raise ValueError(f"pictures have 1 or 3 colours, not {num_colours}")
    if image_px <= COARSEST_PX or coarsest_px(image_px) << num_halvings(image_px) != image_px:
        raise ValueError(
            f"image_px must halve evenly down to at most {COARSEST_PX}, as 28, 32 and 64 do, "
            f"not {image_px}"
        )


def num_halvings(image_px: int) -> int:
    """The number of halvings until a side is at most `COARSEST_PX`."""
    num_coarse = math.ceil(image_px / COARSEST_PX)
    # The smallest n with 2^n >= num_coarse
    return max(0, num_coarse - 1).bit_length()


def coarsest_px(image_px: int) -> int:
    return image_px >> num_halvings(image_px)


def feature_widths(image_px: int, width: int) -> list[int]:
    """Features of each scale, from half the side to the coarsest."""
    return [width << scale for scale in range(num_halvings(image_px))]


class ResidualBlock(nn.Module):
    """Two normalised convolutions and a skip connection (He et al. 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [
                nn.GroupNorm(NORM_GROUPS, width),
                nn.SiLU(),
                nn.Conv2d(width, width, 3, padding=1),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, x_BFHW: Tensor) -> Tensor:
        return x_BFHW + self.layers(x_BFHW)


class Encoder(nn.Module):
    """Maps pictures, and their classes unless `num_classes` is 0, to `num_outputs` numbers each."""

    def __init__(self, config: AutoencoderConfig, num_outputs: int, num_classes: int = 0) -> None:
        super().__init__()
        self.num_classes = num_classes
        layers: list[nn.Module] = []
        before = config.num_colours
        for features in feature_widths(config.image_px, config.width):
            layers += [
                nn.Conv2d(before, features, 4, stride=2, padding=1),
                nn.GroupNorm(NORM_GROUPS, features),
                nn.SiLU(),
            ]
            before = features
        self.layers = nn.Sequential(*layers, ResidualBlock(before), nn.Flatten())
        num_features = before * coarsest_px(config.image_px) ** 2
        self.head = nn.Linear(num_features + num_classes, num_outputs)

    def forward(self, images_BCHW: Tensor, labels_B: Tensor | None = None) -> Tensor:
        features_BF = append_labels(self.layers(images_BCHW), labels_B, self.num_classes)
        outputs_BZ: Tensor = self.head(features_BF)
        return outputs_BZ


class Decoder(nn.Module):
    """Maps latents, and classes unless `num_classes` is 0, to pictures in [-1, 1]."""

    def __init__(self, config: AutoencoderConfig, num_classes: int = 0) -> None:
        super().__init__()
        self.num_classes = num_classes
        widths = feature_widths(config.image_px, config.width)[::-1]
        px = coarsest_px(config.image_px)
        self.first = nn.Linear(config.latent_width + num_classes, widths[0] * px * px)
        layers: list[nn.Module] = [nn.Unflatten(1, (widths[0], px, px)), ResidualBlock(widths[0])]
        for features, after in zip(widths, [*widths[1:], config.width], strict=True):
            layers += [
                nn.GroupNorm(NORM_GROUPS, features),
                nn.SiLU(),
                nn.ConvTranspose2d(features, after, 4, stride=2, padding=1),
            ]
        layers += [
            nn.GroupNorm(NORM_GROUPS, config.width),
            nn.SiLU(),
            nn.Conv2d(config.width, config.num_colours, 3, padding=1),
            nn.Tanh(),
        ]
        self.layers = nn.Sequential(*layers)

    def forward(self, latents_BZ: Tensor, labels_B: Tensor | None = None) -> Tensor:
        latents_BF = append_labels(latents_BZ, labels_B, self.num_classes)
        images_BCHW: Tensor = self.layers(self.first(latents_BF))
        return images_BCHW


def append_labels(x_BF: Tensor, labels_B: Tensor | None, num_classes: int) -> Tensor:
    """Appends classes in one-hot form, unless `num_classes` is 0."""
    if num_classes == 0:
        return x_BF
    if labels_B is None:
        raise ValueError("this network needs the class of every picture")
    one_hot_BC = x_BF.new_zeros(len(labels_B), num_classes).scatter(1, labels_B[:, None], 1.0)
    return torch.cat([x_BF, one_hot_BC], dim=1)


class Autoencoder(nn.Module):
    """Reconstructs pictures that are like its training pictures well, and others badly."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config, config.latent_width)
        self.decoder = Decoder(config)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        reconstructed_BCHW: Tensor = self.decoder(self.encoder(images_BCHW))
        return reconstructed_BCHW


def reconstruction_errors(images_BCHW: Tensor, reconstructed_BCHW: Tensor) -> Tensor:
    """Mean squared error [B] of each picture, for pixels from -1 to 1."""
    return (images_BCHW - reconstructed_BCHW.float()).square().flatten(1).mean(dim=1)
