"""Small pictures that a network learns in seconds: bright squares in the corner of their
class."""

import gc
from typing import Any

import torch
from torch import Tensor, nn

from aigc_models.images.data import LabelledImages

LABEL_NAMES = ("upper left", "lower right")
SHAPES = [(28, 1), (32, 3), (64, 1), (64, 3)]
TINY: dict[str, Any] = {
    "flow": {
        "vae": {"latent_width": 4, "width": 8},
        "width": 32,
        "num_blocks": 1,
        "num_sampling_steps": 2,
    },
    "gan": {"noise_width": 4, "width": 8, "discriminator_width": 8},
    "vae": {"latent_width": 4, "width": 8},
}


def squares(num: int, *, image_px: int = 28, num_colours: int = 1, seed: int = 0) -> LabelledImages:
    generator = torch.Generator().manual_seed(seed)
    labels_B = torch.arange(num) % 2
    images_BHWC = torch.zeros(num, image_px, image_px, num_colours)
    for row, label in enumerate(labels_B.tolist()):
        top, left, size = (int(torch.randint(1, 5, (1,), generator=generator)) for _ in range(3))
        start = label * image_px // 2
        brightness = 150 + 100 * torch.rand(num_colours, generator=generator)
        images_BHWC[
            row, start + top : start + top + 4 + size, start + left : start + left + 4 + size
        ] = brightness
    return LabelledImages(images_BHWC.to(torch.uint8), labels_B)


def network_batch(num: int, image_px: int, num_colours: int) -> tuple[Tensor, Tensor]:
    """Pictures [B, C, H, W] in [-1, 1] and labels."""
    generator = torch.Generator().manual_seed(1)
    images_BCHW = torch.rand(num, num_colours, image_px, image_px, generator=generator) * 2 - 1
    return images_BCHW, torch.arange(num) % 2


def batches_held(network: nn.Module) -> list[int]:
    """Counts, at each later call of the network, the batches of pictures that memory holds beyond
    those of now."""
    counts: list[int] = []
    before = num_batches()
    network.register_forward_pre_hook(lambda *_: counts.append(num_batches() - before))
    return counts


def num_batches() -> int:
    return sum(
        type(found) is Tensor and found.dim() == 4 and found.is_floating_point()
        for found in gc.get_objects()
    )
