import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from tests.unit.workers.picture_files import picture
from workers.inputs.pictures import PictureError, encode_png, open_picture, sheet, to_square

GREY = Image.new("L", (28, 28), 7)


def frames(kind: str) -> bytes:
    others = [Image.new("RGB", (28, 28), colour) for colour in ("red", "green")]
    return picture(Image.new("RGB", (28, 28)), kind, save_all=True, append_images=others)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (lambda: None, "no bytes"),
        (lambda: b"", "no bytes"),
        (lambda: b"nothing", "bytes of another kind"),
        (lambda: picture(GREY)[:-25], "a damaged PNG"),
        (lambda: picture(GREY.resize((200, 200)), "JPEG")[:-200], "a damaged JPEG"),
        (lambda: frames("GIF"), "a GIF"),
        (lambda: frames("PNG"), "an animated PNG of 3 frames"),
        (lambda: picture(Image.new("CMYK", (28, 28)), "JPEG"), "a JPEG in CMYK"),
        (lambda: picture(Image.new("I;16", (28, 28))), "a PNG in I;16"),
        (lambda: picture(Image.new("L", (1, 1))), "a picture of 1 x 1 pixels"),
        (lambda: picture(Image.new("L", (5000, 5000))), "a picture of 5000 x 5000 pixels"),
    ],
    ids=[
        "null",
        "empty",
        "text",
        "cut-png",
        "cut-jpeg",
        "gif",
        "apng",
        "cmyk",
        "16-bit",
        "1x1",
        "5000x5000",
    ],
)
def test_errors_of_bad_pictures_say_what_was_found(
    content: Callable[[], bytes | None], found: str
) -> None:
    with pytest.raises(PictureError, match="; expected ") as refused:
        open_picture(content())
    assert refused.value.found.startswith(found)


@pytest.mark.parametrize(
    ("image", "mode", "pixel"),
    [
        (Image.new("L", (28, 28), 9), "L", 9),
        (Image.new("1", (28, 28), 1), "L", 255),
        (Image.new("P", (28, 28), 0), "RGB", (0, 0, 0)),
        (Image.new("RGBA", (28, 28), (255, 0, 0, 0)), "RGB", (255, 255, 255)),
        (Image.new("LA", (28, 28), (10, 255)), "L", 10),
    ],
    ids=["grey", "bits", "palette", "transparent", "grey-alpha"],
)
def test_every_accepted_mode_becomes_grey_or_rgb(
    image: Image.Image, mode: str, pixel: object
) -> None:
    found = open_picture(picture(image))
    assert (found.mode, found.getpixel((3, 3))) == (mode, pixel)


def test_a_square_is_cut_from_the_middle() -> None:
    wide = Image.new("L", (60, 20))
    wide.paste(255, (20, 0, 40, 20))
    assert np.asarray(to_square(wide, 10)).min() > 200
    assert to_square(GREY, 28) is GREY


def test_png_bytes_are_the_same_for_the_same_pixels_and_come_back() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert encode_png(pixels) == encode_png(pixels.copy())
    assert (np.asarray(Image.open(io.BytesIO(encode_png(pixels)))) == pixels).all()
    assert Image.open(io.BytesIO(encode_png(pixels[:, :, :1]))).mode == "L"


def test_a_sheet_has_a_place_for_each_picture_and_leaves_gaps_white() -> None:
    black = np.zeros((8, 8, 1), np.uint8)
    image = Image.open(io.BytesIO(sheet([[black, None, black], [black]], gap_px=2)))
    assert image.size == (3 * 10 + 2, 2 * 10 + 2)
    assert [image.getpixel((x, 5)) for x in (5, 15, 25)] == [(0, 0, 0), (255, 255, 255), (0, 0, 0)]
