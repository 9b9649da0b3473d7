"""A trained image model: classes and row seeds in, pictures out. What jobs know of an image
family."""

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
"""Pictures generated at once. Always as many: kernels for other numbers of rows may round
otherwise."""


class ImageModel:
    """A network and the names of its classes."""

    def __init__(self, family: str, network: ImageNetwork, label_names: Sequence[str]) -> None:
        self.family = family
        self.network = network.eval()
        self.label_names = tuple(label_names)

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> "ImageModel":
        """Reads a checkpoint folder; raises `CheckpointError` naming what is missing or
        unreadable."""
        config, tensors = read_weights(folder)
        try:
            network = build_image_network(config["family"], config["shape"], config["network"])
            network.load_state_dict(tensors)
            return cls(config["family"], network.to(device), config["label_names"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{folder}: this is no checkpoint of an image model: {error}"
            ) from error

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
        """Pictures [B, H, W, C] in uint8. A picture depends on its label and row seed alone, not on
        its batch."""
        if len(labels) != len(row_seeds):
            raise ValueError(f"{len(labels)} labels but {len(row_seeds)} row seeds")
        if not labels:
            raise ValueError("no picture is asked for")
        if min(labels) < 0 or max(labels) >= len(self.label_names):
            raise ValueError(f"labels must lie between 0 and {len(self.label_names) - 1}")
        device = next(self.network.parameters()).device
        padding = -len(labels) % BATCH_IMAGES
        labels_B = torch.tensor([*labels, *[0] * padding], device=device)
        noise_BZ = normals(
            torch.tensor([*row_seeds, *[0] * padding], device=device), self.network.noise_width
        )
        batches = zip(noise_BZ.split(BATCH_IMAGES), labels_B.split(BATCH_IMAGES), strict=True)
        pictures = [
            to_pixels(self.network.generate(noise, labels)).cpu() for noise, labels in batches
        ]
        return torch.cat(pictures)[: len(labels)]
