"""The image model families by name: which network and configuration a checkpoint holds."""

from dataclasses import asdict
from typing import Any, Protocol

from torch import Tensor

from aigc_models.images.networks.flow import FlowConfig, LatentFlow
from aigc_models.images.networks.gan import GANConfig, Generator
from aigc_models.images.networks.vae import VAE, VAEConfig
from aigc_models.images.settings import FAMILIES

VALUES_PER_LATENT = 24
"""Of a picture: pixels times colours."""
MAX_LATENTS = 256

ImageNetwork = LatentFlow | Generator | VAE


class ImageGenerator(Protocol):
    """What sampling asks of a network; B batch, Z noise width, C colours, H height, W width."""

    noise_width: int

    def generate(self, noise_BZ: Tensor, labels_B: Tensor) -> Tensor:
        """Standard normal numbers and classes to pictures [B, C, H, W] in [-1, 1]."""
        ...


def build_image_network(
    family: str, shape: dict[str, Any], options: dict[str, Any]
) -> ImageNetwork:
    """A network with fresh weights; `shape` has image_px, num_colours and num_classes, `options`
    further fields of the family's configuration."""
    if family == "gan":
        return Generator(GANConfig(**shape, **options))
    latents = {"latent_width": default_latent_width(shape["image_px"], shape["num_colours"])}
    if family == "flow":
        return LatentFlow(
            FlowConfig(
                **{**options, "vae": VAEConfig(**shape, **{**latents, **options.get("vae", {})})}
            )
        )
    if family == "vae":
        return VAE(VAEConfig(**shape, **{**latents, **options}))
    raise ValueError(f"family must be one of {', '.join(FAMILIES)}, not {family!r}")


def default_latent_width(image_px: int, num_colours: int) -> int:
    """32 for a grey picture of 28 pixels, 128 for a coloured one of 32: 32 would show its colours
    without a shape."""
    return min(MAX_LATENTS, max(1, round(image_px**2 * num_colours / VALUES_PER_LATENT / 32)) * 32)


def image_network_options(network: ImageNetwork) -> tuple[dict[str, Any], dict[str, Any]]:
    """The shape and options that `build_image_network` makes this network from."""
    options = asdict(network.config)
    inner = options["vae"] if isinstance(network, LatentFlow) else options
    shape = {name: inner.pop(name) for name in ("image_px", "num_colours", "num_classes")}
    return shape, options
