"""The image model families by name: which network and configuration a checkpoint holds."""

from dataclasses import asdict
from typing import Any, Protocol

from torch import Tensor

from aigc_models.flow import FlowConfig, LatentFlow
from aigc_models.gan import GANConfig, Generator
from aigc_models.vae import VAE, VAEConfig

FAMILIES = ("flow", "gan", "vae")

ImageNetwork = LatentFlow | Generator | VAE


class ImageGenerator(Protocol):
    """What sampling asks of a network; B batch, Z noise width, C colours, H height, W width."""

    noise_width: int

    def generate(self, noise_BZ: Tensor, labels_B: Tensor) -> Tensor:
        """Standard normal numbers and classes to pictures [B, C, H, W] in [-1, 1]."""
        ...


def build_image_network(family: str, shape: dict[str, Any], options: dict[str, Any]) -> ImageNetwork:
    """A network with fresh weights; `shape` has image_px, num_colours and num_classes, `options` further fields of the
    family's configuration."""
    if family == "flow":
        return LatentFlow(FlowConfig(**{**options, "vae": VAEConfig(**shape, **options.get("vae", {}))}))
    if family == "gan":
        return Generator(GANConfig(**shape, **options))
    if family == "vae":
        return VAE(VAEConfig(**shape, **options))
    raise ValueError(f"family must be one of {', '.join(FAMILIES)}, not {family!r}")


def image_network_options(network: ImageNetwork) -> tuple[dict[str, Any], dict[str, Any]]:
    """The shape and options that `build_image_network` makes this network from."""
    options = asdict(network.config)
    inner = options["vae"] if isinstance(network, LatentFlow) else options
    shape = {name: inner.pop(name) for name in ("image_px", "num_colours", "num_classes")}
    return shape, options
