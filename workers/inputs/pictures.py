"""Decodes and checks PNG and JPEG bytes, and encodes pixels as PNG.

Knows nothing about models or storage.
"""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, UnidentifiedImageError

MIN_PX, MAX_PX = 8, 4096
"""Limits of a side. Smaller pictures show nothing; larger ones should be scaled down first."""
FORMATS = ("PNG", "JPEG")
GREY, COLOUR = "L", "RGB"
MODES = {"1": GREY, "L": GREY, "LA": GREY, "P": COLOUR, "RGB": COLOUR, "RGBA": COLOUR}
"""By accepted Pillow mode: the mode it is converted to. Transparency becomes white."""
PNG_COMPRESSION = 3
"""zlib level. The default, 6, takes twice the time for 2 % fewer bytes at these sizes."""


class PictureError(ValueError):
    """Bytes that are not an accepted picture: what was found, and what was expected."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(f"found {found}; expected {expected}")
        self.found = found
        self.expected = expected


def open_picture(content: bytes | None) -> Image.Image:
    """Decodes a picture to grey or RGB; raises PictureError if it is not an accepted one."""
    if not content:
        raise PictureError("no bytes", "the bytes of a PNG or JPEG image")
    try:
        image = Image.open(io.BytesIO(content))
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as exc:
        raise PictureError("bytes of another kind", "the bytes of a PNG or JPEG image") from exc
    _check_kind(image)
    try:
        image.load()
    except (OSError, SyntaxError, ValueError, EOFError) as exc:
        raise PictureError(f"a damaged {image.format} ({exc})", "a whole image") from exc
    return _flattened(image)


def _check_kind(image: Image.Image) -> None:
    if image.format not in FORMATS:
        raise PictureError(f"a {image.format}", "the bytes of a PNG or JPEG image")
    if getattr(image, "is_animated", False):
        num_frames = getattr(image, "n_frames", "?")
        found = f"an animated {image.format} of {num_frames} frames"
        raise PictureError(found, "a single picture")
    if image.mode not in MODES:
        found = f"a {image.format} in {image.mode}"
        raise PictureError(found, "grey or RGB with 8 bits each (convert it)")
    width, height = image.size
    if min(width, height) < MIN_PX or max(width, height) > MAX_PX:
        found = f"a picture of {width} x {height} pixels"
        raise PictureError(found, f"sides of {MIN_PX} to {MAX_PX:,} pixels")


def _flattened(image: Image.Image) -> Image.Image:
    mode = MODES[image.mode]
    if image.mode in ("LA", "RGBA") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert(mode)
    return image.convert(mode)


def to_square(image: Image.Image, px: int) -> Image.Image:
    """Crops the largest centred square and resamples it to `px` by `px`; a no-op at that size."""
    if image.size == (px, px):
        return image
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = (left, top, left + side, top + side)
    return image.resize((px, px), Image.Resampling.LANCZOS, box=square)


def encode_png(pixels_HWC: np.ndarray) -> bytes:
    """Encodes uint8 [H, W, 1 or 3] as PNG; deterministic."""
    return _to_png(_to_image(pixels_HWC))


def sheet(rows: Sequence[Sequence[np.ndarray | None]], gap_px: int = 2) -> bytes:
    """Rows of equally large pictures [H, W, C] as one PNG on white; None leaves a cell empty."""
    height, width, _ = next(pixels for row in rows for pixels in row if pixels is not None).shape
    columns = max(len(row) for row in rows)
    size = ((width + gap_px) * columns + gap_px, (height + gap_px) * len(rows) + gap_px)
    canvas = Image.new(COLOUR, size, "white")
    for y, row in enumerate(rows):
        for x, pixels in enumerate(row):
            if pixels is not None:
                place = (gap_px + x * (width + gap_px), gap_px + y * (height + gap_px))
                canvas.paste(_to_image(pixels).convert(COLOUR), place)
    return _to_png(canvas)


def _to_image(pixels_HWC: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels_HWC[:, :, 0] if pixels_HWC.shape[2] == 1 else pixels_HWC)


def _to_png(image: Image.Image) -> bytes:
    sink = io.BytesIO()
    image.save(sink, "PNG", compress_level=PNG_COMPRESSION)
    return sink.getvalue()
