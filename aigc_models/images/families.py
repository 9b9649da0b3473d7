"""Image model families by name: the network and configuration that a checkpoint has."""

from dataclasses import asdict
from typing import Any

from aigc_models.images.networks.flow import FlowConfig, LatentFlow
from aigc_models.images.networks.gan import GANConfig, Generator
from aigc_models.images.networks.vae import VAE, VAEConfig
from aigc_models.images.settings import FAMILIES

VALUES_PER_LATENT = 24
"""Values of a picture (pixels times colours) for each latent."""
MAX_LATENTS = 256

ImageNetwork = LatentFlow | Generator | VAE


def build_image_network(
    family: str, shape: dict[str, Any], options: dict[str, Any]
) -> ImageNetwork:
    """Builds a network with new weights.

    `shape` has image_px, num_colours and num_classes; `options` are further fields of the family's
    configuration.
    """
    if family == "gan":
        return Generator(GANConfig(**shape, **options))
    defaults = {"latent_width": default_latent_width(shape["image_px"], shape["num_colours"])}
    if family == "flow":
        vae_options = {**defaults, **options.get("vae", {})}
        return LatentFlow(FlowConfig(**{**options, "vae": VAEConfig(**shape, **vae_options)}))
    if family == "vae":
        return VAE(VAEConfig(**shape, **{**defaults, **options}))
    raise ValueError(f"family must be one of {', '.join(FAMILIES)}, not {family!r}")


def default_latent_width(image_px: int, num_colours: int) -> int:
    """A multiple of 32 in proportion to the values of a picture.

    32 for a grey picture of 28 pixels and 128 for a coloured one of 32 pixels, of which 32 latents
    would describe the colours but not the shape.
    """
    num_values = image_px**2 * num_colours
    return min(MAX_LATENTS, max(1, round(num_values / VALUES_PER_LATENT / 32)) * 32)


def image_network_options(network: ImageNetwork) -> tuple[dict[str, Any], dict[str, Any]]:
    """The shape and options from which `build_image_network` builds this network."""
    options = asdict(network.config)
    # A flow's pictures have the shape of its autoencoder's.
    shaped = options["vae"] if isinstance(network, LatentFlow) else options
    shape = {name: shaped.pop(name) for name in ("image_px", "num_colours", "num_classes")}
    return shape, options
