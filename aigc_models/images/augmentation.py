"""Changes to real and made pictures before a discriminator judges them (Zhao et al. 2020,
DiffAugment).

With few training pictures a discriminator learns them by heart; changed at every look, it cannot.
Gradients pass, so a generator learns through them.

B batch, C colours, H height, W width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

SHIFT_SHARE = 8
"""Of the side: pictures are moved by up to an eighth of it."""
CUTOUT_SHARE = 2
"""Of the side: the square that is cut out."""


def augmented(images_BCHW: Tensor) -> Tensor:
    """Pictures with other colours where they have colours, moved, and with a square cut out."""
    if images_BCHW.shape[1] == 3:
        images_BCHW = recoloured(images_BCHW)
    return cut_out(moved(images_BCHW, images_BCHW.shape[3] // SHIFT_SHARE))


def recoloured(images_BCHW: Tensor) -> Tensor:
    """Brightness, saturation and contrast, each changed at random."""
    brightness, saturation, contrast = torch.rand(
        3, len(images_BCHW), 1, 1, 1, device=images_BCHW.device
    )
    images_BCHW = images_BCHW + (brightness - 0.5)
    grey_B1HW = images_BCHW.mean(dim=1, keepdim=True)
    images_BCHW = grey_B1HW + (images_BCHW - grey_B1HW) * (2 * saturation)
    mean_B111 = images_BCHW.mean(dim=(1, 2, 3), keepdim=True)
    return mean_B111 + (images_BCHW - mean_B111) * (contrast + 0.5)


def moved(images_BCHW: Tensor, max_px: int) -> Tensor:
    """Every picture moved at random by up to `max_px` each way; what comes in is as dark as can
    be."""
    num, colours, height, width = images_BCHW.shape
    device = images_BCHW.device
    padded = F.pad(images_BCHW, (max_px,) * 4, value=-1.0)
    rows_BH = torch.randint(0, 2 * max_px + 1, (num, 1), device=device) + torch.arange(
        height, device=device
    )
    columns_BW = torch.randint(0, 2 * max_px + 1, (num, 1), device=device) + torch.arange(
        width, device=device
    )
    rows = rows_BH[:, None, :, None].expand(-1, colours, -1, padded.shape[3])
    columns = columns_BW[:, None, None, :].expand(-1, colours, height, -1)
    return padded.gather(2, rows).gather(3, columns)


def cut_out(images_BCHW: Tensor) -> Tensor:
    """Every picture with a square, a pixel short of half a side, of the middle value; it may reach
    beyond the edge."""
    num, _, height, _ = images_BCHW.shape
    half = height // CUTOUT_SHARE // 2
    centres_B2 = torch.randint(0, height + 1, (num, 2), device=images_BCHW.device)
    places = torch.arange(height, device=images_BCHW.device)
    is_row_BH, is_column_BW = (
        (places - centre_B[:, None]).abs() < half for centre_B in centres_B2.unbind(1)
    )
    is_cut_BHW = is_row_BH[:, :, None] & is_column_BW[:, None, :]
    return images_BCHW.masked_fill(is_cut_BHW[:, None], 0.0)
