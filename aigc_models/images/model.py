"""A trained image model: takes classes and row seeds, returns pictures.

This is the interface that other code uses, whatever the family.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from aigc_models.checkpoint import (
    CONFIG,
    WEIGHTS,
    CheckpointError,
    read_weights,
    write_json,
    write_tensors,
)
from aigc_models.images.data import to_pixels
from aigc_models.images.families import ImageNetwork, build_image_network, image_network_options
from aigc_models.noise import normals

__all__ = ["ImageModel"]

BATCH_IMAGES = 64
"""Pictures generated at once. Smaller batches are padded, since kernels for other numbers of rows
may round differently."""


class ImageModel:
    """A network and the names of its classes."""

    def __init__(self, family: str, network: ImageNetwork, label_names: Sequence[str]) -> None:
        self.family = family
        self.network = network.eval()
        self.label_names = tuple(label_names)

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> "ImageModel":
        """Reads a checkpoint folder.

        Raises `CheckpointError`, which names what is missing or damaged.
        """
        config, tensors = read_weights(folder)
        try:
            network = build_image_network(config["family"], config["shape"], config["network"])
            network.load_state_dict(tensors)
            return cls(config["family"], network.to(device), config["label_names"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{folder} is not an image model checkpoint: {error}") from error

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and colours of a picture."""
        shape, _ = image_network_options(self.network)
        return shape["image_px"], shape["image_px"], shape["num_colours"]

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        shape, options = image_network_options(self.network)
        config = {
            "family": self.family,
            "shape": shape,
            "network": options,
            "label_names": list(self.label_names),
        }
        write_tensors(folder / WEIGHTS, self.network.state_dict())
        write_json(folder / CONFIG, config)

    @torch.inference_mode()
    def sample(self, labels: Sequence[int], row_seeds: Sequence[int]) -> Tensor:
        """Pictures [B, H, W, C] in uint8; each depends only on its label and row seed."""
        if len(labels) != len(row_seeds):
            raise ValueError(f"{len(labels)} labels but {len(row_seeds)} row seeds")
        if not labels:
            raise ValueError("labels must not be empty")
        if min(labels) < 0 or max(labels) >= len(self.label_names):
            raise ValueError(f"labels must lie between 0 and {len(self.label_names) - 1}")
        device = next(self.network.parameters()).device
        padding = [0] * (-len(labels) % BATCH_IMAGES)
        labels_B = torch.tensor([*labels, *padding], device=device)
        seeds_B = torch.tensor([*row_seeds, *padding], device=device)
        noise_BZ = normals(seeds_B, self.network.noise_width)
        pictures = []
        for batch_noise_BZ, batch_labels_B in zip(
            noise_BZ.split(BATCH_IMAGES), labels_B.split(BATCH_IMAGES), strict=True
        ):
            images_BCHW = self.network.generate(batch_noise_BZ, batch_labels_B)
            pictures.append(to_pixels(images_BCHW).cpu())
        return torch.cat(pictures)[: len(labels)]
