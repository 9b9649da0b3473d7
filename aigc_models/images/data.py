"""Labelled pictures: checks, the split for validation, conversion from and to pixels, random shifts
and mirroring, and the rows of each training step.

B batch, H height, W width, C colours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from aigc_models.seeds import derive_seed


class ImageDataError(ValueError):
    """The pictures or labels cannot be trained on."""


@dataclass(frozen=True, slots=True)
class LabelledImages:
    images_BHWC: Tensor
    """uint8, as image decoders return them."""
    labels_B: Tensor
    """int64 indices into the list of class names."""

    def __post_init__(self) -> None:
        shape, dtype = tuple(self.images_BHWC.shape), self.images_BHWC.dtype
        is_square = len(shape) == 4 and shape[1] == shape[2]
        if dtype != torch.uint8 or not is_square or shape[3] not in (1, 3):
            raise ImageDataError(
                f"pictures must be uint8 [number, side, side, 1 or 3], not {dtype} {list(shape)}"
            )
        if self.labels_B.dtype != torch.int64 or self.labels_B.shape != shape[:1]:
            raise ImageDataError(
                f"{shape[0]} pictures need as many int64 labels, not {list(self.labels_B.shape)}"
            )

    def __len__(self) -> int:
        return len(self.labels_B)

    def select(self, rows: Tensor) -> "LabelledImages":
        return LabelledImages(self.images_BHWC[rows], self.labels_B[rows])


@dataclass(frozen=True, slots=True)
class Batch:
    inputs: Tensor
    """Pictures [B, C, H, W] in [-1, 1], or latents [B, Z]."""
    labels_B: Tensor


def check_labels(labels_B: Tensor, label_names: Sequence[str]) -> None:
    """Raises `ImageDataError` unless every label has a name and every class two pictures.

    One of the two is held out for validation.
    """
    if len(labels_B) == 0 or int(labels_B.min()) < 0 or int(labels_B.max()) >= len(label_names):
        raise ImageDataError(
            f"labels must lie between 0 and {len(label_names) - 1}, the indices of the class names"
        )
    counts = torch.bincount(labels_B, minlength=len(label_names)).tolist()
    few = [name for name, count in zip(label_names, counts, strict=True) if count < 2]
    if few:
        raise ImageDataError(
            f"too few pictures to learn from: add some or leave the class out: {', '.join(few[:5])}"
        )


def split(
    data: LabelledImages, validation_share: float, seed: int
) -> tuple[LabelledImages, LabelledImages]:
    """Splits into training and validation pictures; both have at least one of every class."""
    generator = torch.Generator().manual_seed(seed)
    held_out: list[Tensor] = []
    for label in data.labels_B.unique():
        rows = torch.nonzero(data.labels_B == label)[:, 0]
        num_held_out = min(len(rows) - 1, max(1, round(validation_share * len(rows))))
        held_out.append(rows[torch.randperm(len(rows), generator=generator)[:num_held_out]])
    is_held_out = torch.zeros(len(data), dtype=torch.bool)
    is_held_out[torch.cat(held_out)] = True
    training_rows = torch.nonzero(~is_held_out)[:, 0]
    held_out_rows = torch.nonzero(is_held_out)[:, 0]
    return data.select(training_rows), data.select(held_out_rows)


def check_split(training: LabelledImages, held_out: LabelledImages) -> None:
    """Raises `ImageDataError` unless the metrics of these pictures are defined.

    A Fréchet distance needs two held-out pictures. A near copy is much nearer to one training
    picture than to the next one, so there must be two different ones.
    """
    if len(held_out) < 2:
        raise ImageDataError(
            "too few pictures for validation: add some, so that at least two are held out"
        )
    if torch.equal(training.images_BHWC, training.images_BHWC[:1].expand_as(training.images_BHWC)):
        raise ImageDataError(
            "all training pictures are the same: at least two different ones are needed"
        )


def to_network(images_BHWC: Tensor) -> Tensor:
    """uint8 [B, H, W, C] to float32 [B, C, H, W] in [-1, 1]."""
    return images_BHWC.permute(0, 3, 1, 2).float().div(127.5).sub(1.0)


def to_pixels(images_BCHW: Tensor) -> Tensor:
    """The inverse of `to_network`, rounded."""
    return (
        images_BCHW.float()
        .add(1.0)
        .mul(127.5)
        .round()
        .clamp(0, 255)
        .to(torch.uint8)
        .permute(0, 2, 3, 1)
        .contiguous()
    )


def mirror(images_BCHW: Tensor) -> Tensor:
    """Exchanges left and right of about half of the pictures, chosen at random."""
    is_mirrored_B = torch.rand(len(images_BCHW)) < 0.5
    is_mirrored_B111 = is_mirrored_B.to(images_BCHW.device)[:, None, None, None]
    return torch.where(is_mirrored_B111, images_BCHW.flip(3), images_BCHW)


def shift(images_BCHW: Tensor, max_px: int) -> Tensor:
    """Shifts every picture at random by up to `max_px` each way and repeats its edges."""
    _, _, height, width = images_BCHW.shape
    padded = F.pad(images_BCHW, (max_px,) * 4, mode="replicate")
    num_images = len(images_BCHW)
    rows_BH = torch.randint(0, 2 * max_px + 1, (num_images, 1)) + torch.arange(height)
    columns_BW = torch.randint(0, 2 * max_px + 1, (num_images, 1)) + torch.arange(width)
    image_B11 = torch.arange(num_images)[:, None, None]
    padded_BHWC = padded.permute(0, 2, 3, 1)
    shifted_BHWC = padded_BHWC[image_B11, rows_BH[:, :, None], columns_BW[:, None, :]]
    return shifted_BHWC.permute(0, 3, 1, 2)


class EpochSchedule:
    """The rows of each step. Every epoch shuffles all rows and drops an incomplete last batch."""

    def __init__(self, num_rows: int, batch_size: int, seed: int) -> None:
        self.num_rows = num_rows
        self.batch_size = min(batch_size, num_rows)
        self.seed = seed
        self.epoch = -1
        self.order = torch.empty(0)
        """The shuffled rows of `epoch`."""

    def rows_at(self, step: int) -> Tensor:
        steps_per_epoch = self.num_rows // self.batch_size
        epoch, place = divmod(step, steps_per_epoch)
        if epoch != self.epoch:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, epoch))
            self.epoch = epoch
            self.order = torch.randperm(self.num_rows, generator=generator)
        return self.order[place * self.batch_size : (place + 1) * self.batch_size]
