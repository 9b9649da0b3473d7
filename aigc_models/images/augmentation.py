"""Augments real and generated pictures before a discriminator sees them (Zhao et al. 2020,
DiffAugment).

With few training pictures a discriminator would memorise them; random changes prevent this. All
changes are differentiable, so the generator learns through them.

B batch, C colours, H height, W width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

SHIFT_SHARE = 8
"""Pictures are shifted by up to an eighth of their side."""
CUTOUT_SHARE = 2
"""The square that is cut out has half the side of the picture."""


def augment(images_BCHW: Tensor) -> Tensor:
    """Recolours pictures that have colours, shifts them, and cuts out a square."""
    if images_BCHW.shape[1] == 3:
        images_BCHW = recolour(images_BCHW)
    return cut_out(shift_dark(images_BCHW, images_BCHW.shape[3] // SHIFT_SHARE))


def recolour(images_BCHW: Tensor) -> Tensor:
    """Changes brightness, saturation and contrast at random."""
    brightness, saturation, contrast = torch.rand(
        3, len(images_BCHW), 1, 1, 1, device=images_BCHW.device
    )
    images_BCHW = images_BCHW + (brightness - 0.5)
    grey_B1HW = images_BCHW.mean(dim=1, keepdim=True)
    images_BCHW = grey_B1HW + (images_BCHW - grey_B1HW) * (2 * saturation)
    mean_B111 = images_BCHW.mean(dim=(1, 2, 3), keepdim=True)
    return mean_B111 + (images_BCHW - mean_B111) * (contrast + 0.5)


def shift_dark(images_BCHW: Tensor, max_px: int) -> Tensor:
    """Shifts every picture at random by up to `max_px` each way and fills the edge with -1."""
    num, colours, height, width = images_BCHW.shape
    device = images_BCHW.device
    padded = F.pad(images_BCHW, (max_px,) * 4, value=-1.0)
    down_B1 = torch.randint(0, 2 * max_px + 1, (num, 1), device=device)
    rows_BH = down_B1 + torch.arange(height, device=device)
    right_B1 = torch.randint(0, 2 * max_px + 1, (num, 1), device=device)
    columns_BW = right_B1 + torch.arange(width, device=device)
    rows = rows_BH[:, None, :, None].expand(-1, colours, -1, padded.shape[3])
    columns = columns_BW[:, None, None, :].expand(-1, colours, height, -1)
    return padded.gather(2, rows).gather(3, columns)


def cut_out(images_BCHW: Tensor) -> Tensor:
    """Sets a square of every picture to 0, the middle value; the square may reach over the edge.

    It is one pixel smaller than half the picture's side.
    """
    num, _, height, _ = images_BCHW.shape
    half = height // CUTOUT_SHARE // 2
    centres_B2 = torch.randint(0, height + 1, (num, 2), device=images_BCHW.device)
    places = torch.arange(height, device=images_BCHW.device)
    is_row_BH = (places - centres_B2[:, 0, None]).abs() < half
    is_column_BW = (places - centres_B2[:, 1, None]).abs() < half
    is_cut_BHW = is_row_BH[:, :, None] & is_column_BW[:, None, :]
    return images_BCHW.masked_fill(is_cut_BHW[:, None], 0.0)
