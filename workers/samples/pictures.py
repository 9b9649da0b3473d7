"""Draws pictures of the kinds of product, with random poses, sizes, colours and parts.

A picture is drawn on a large canvas of 100 by 100 units and then scaled down, which smooths its
edges.
"""

import io
import math
import random
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
from PIL import Image, ImageDraw

from workers.inputs.tables import HUGGING_FACE_IMAGE, IMAGE
from workers.samples.kinds import BACKPACK, BICYCLE, HEADSET, KETTLE, LAMP, TENT, WATCH

Colour = tuple[int, int, int]
Point = tuple[float, float]

IMAGE_PX = 32
OVERSAMPLING = 4
BATCH_ROWS = 4096
TONES: Sequence[Colour] = (
    (137, 166, 133),
    (38, 62, 112),
    (168, 62, 50),
    (216, 196, 160),
    (70, 72, 78),
    (226, 176, 48),
    (206, 140, 152),
    (40, 128, 132),
    (120, 84, 140),
    (190, 110, 60),
)
BACKGROUNDS: Sequence[Colour] = (
    (246, 246, 244),
    (232, 238, 244),
    (244, 236, 226),
    (230, 240, 230),
    (240, 232, 240),
)
DARK: Colour = (48, 48, 54)

IMAGES_SCHEMA = pa.schema(
    [pa.field("image", IMAGE), pa.field("label", pa.int64()), pa.field("label_name", pa.string())],
    metadata=HUGGING_FACE_IMAGE,
)


class Pen:
    """Draws in canvas units, with a random rotation, scale and offset for the whole picture."""

    def __init__(self, image: Image.Image, rng: random.Random) -> None:
        self._draw = ImageDraw.Draw(image)
        self._unit = image.width / 100
        angle = rng.uniform(-0.12, 0.12)
        scale = rng.uniform(0.78, 1.0)
        self._cos = scale * math.cos(angle)
        self._sin = scale * math.sin(angle)
        self._dx = rng.uniform(-5, 5)
        self._dy = rng.uniform(-5, 5)

    def shape(self, points: Sequence[Point], fill: Colour) -> None:
        """A filled polygon."""
        self._draw.polygon([self._place(point) for point in points], fill=fill)

    def line(self, points: Sequence[Point], fill: Colour, width: float) -> None:
        """A line with round corners and ends."""
        placed = [self._place(point) for point in points]
        px = max(1, round(width * self._unit))
        self._draw.line(placed, fill=fill, width=px, joint="curve")
        for x, y in (placed[0], placed[-1]):
            self._draw.ellipse((x - px / 2, y - px / 2, x + px / 2, y + px / 2), fill=fill)

    def disc(self, centre: Point, radius: float, fill: Colour) -> None:
        """A filled circle."""
        self.shape(arc(centre, radius, 0, 360), fill)

    def ring(self, centre: Point, radius: float, fill: Colour, width: float) -> None:
        """A circle's outline."""
        self.line(arc(centre, radius, 0, 360), fill, width)

    def _place(self, point: Point) -> Point:
        x, y = point[0] - 50, point[1] - 50
        turned = (x * self._cos - y * self._sin, x * self._sin + y * self._cos)
        return ((turned[0] + 50 + self._dx) * self._unit, (turned[1] + 50 + self._dy) * self._unit)


def arc(
    centre: Point, radius: float, start_deg: float, end_deg: float, *, flat: float = 1.0
) -> list[Point]:
    """Points along an arc, clockwise from the right; `flat` scales its height."""
    x, y = centre
    angles = [math.radians(start_deg + (end_deg - start_deg) * step / 32) for step in range(33)]
    return [(x + radius * math.cos(a), y + flat * radius * math.sin(a)) for a in angles]


def draw_kettle(pen: Pen, main: Colour, accent: Colour, rng: random.Random) -> None:
    top, bottom = rng.uniform(15, 22), rng.uniform(25, 31)
    pen.line([(50 - top, 50), (50 - bottom - 14, 36)], main, 7)
    pen.line(arc((50, 42), rng.uniform(24, 30), 185, 355), accent, rng.uniform(4, 6))
    pen.shape([(50 - top, 38), (50 + top, 38), (50 + bottom, 84), (50 - bottom, 84)], main)
    pen.shape(arc((50, 38), top, 180, 360, flat=0.45), shade(main, 0.8))
    pen.disc((50, 29), rng.uniform(3, 5), accent)


def draw_backpack(pen: Pen, main: Colour, accent: Colour, rng: random.Random) -> None:
    width, top = rng.uniform(23, 30), rng.uniform(16, 22)
    pen.line(arc((50, top + 4), 8, 180, 360), accent, 4)
    for side in (-1, 1):
        edge, bow = 50 + side * width, 50 + side * (width + 7)
        pen.line([(edge, 40), (bow, 60), (edge, 80)], accent, 5)
    lid = arc((50, top + 22), width, 180, 360, flat=0.85)
    pen.shape([*lid, (50 + width, 86), (50 - width, 86)], main)
    pocket = shade(main, rng.choice((0.75, 1.25)))
    left, right = 50 - width * 0.7, 50 + width * 0.7
    pen.shape([(left, 58), (right, 58), (right, 81), (left, 81)], pocket)
    pen.line([(left, 64), (right, 64)], accent, 2.5)


def draw_lamp(pen: Pen, main: Colour, accent: Colour, rng: random.Random) -> None:
    top, bottom = rng.uniform(9, 17), rng.uniform(25, 33)
    shade_end = rng.uniform(44, 52)
    pen.line([(50, shade_end), (50, 84)], accent, rng.uniform(3, 5))
    pen.shape(arc((50, 87), rng.uniform(15, 22), 180, 360, flat=0.4), accent)
    cone = [(50 - top, 14), (50 + top, 14), (50 + bottom, shade_end), (50 - bottom, shade_end)]
    pen.shape(cone, main)
    pen.shape(arc((50, shade_end), bottom * 0.8, 0, 180, flat=0.2), (252, 240, 190))


def draw_headset(pen: Pen, main: Colour, accent: Colour, rng: random.Random) -> None:
    radius = rng.uniform(27, 32)
    pen.line(arc((50, 50), radius, 180, 360, flat=1.1), main, rng.uniform(5, 8))
    for side in (-1, 1):
        x = 50 + side * radius
        pen.line([(x, 52), (x, 72)], accent, rng.uniform(11, 15))
        pen.line([(x - side * 8, 55), (x - side * 8, 69)], shade(main, 0.7), 6)
    if rng.random() < 0.5:
        pen.line([(50 - radius, 72), (50 - radius + 8, 84), (50 - 6, 86)], DARK, 3)


def draw_bicycle(pen: Pen, main: Colour, accent: Colour, rng: random.Random) -> None:
    radius = rng.uniform(16, 20)
    rear, front, hub = (25.0, 66.0), (75.0, 66.0), (47.0, 66.0)
    seat, head = (39.0, rng.uniform(38, 43)), (67.0, rng.uniform(36, 41))
    for wheel in (rear, front):
        pen.ring(wheel, radius, DARK, 3.5)
    for points in ([rear, seat, hub, rear], [seat, head, hub], [head, front]):
        pen.line(points, main, 4)
    pen.line([seat, (seat[0] - 2, seat[1] - 7)], accent, 3)
    pen.line([(seat[0] - 8, seat[1] - 8), (seat[0] + 5, seat[1] - 8)], accent, 5)
    pen.line([head, (head[0] - 2, head[1] - 9), (head[0] + 8, head[1] - 11)], accent, 4)
    pen.disc(hub, 4, accent)


def draw_tent(pen: Pen, main: Colour, accent: Colour, rng: random.Random) -> None:
    peak, half = rng.uniform(20, 30), rng.uniform(34, 42)
    shift = rng.uniform(-6, 6)
    pen.shape([(50 + shift, peak), (50 + half, 80), (50 - half, 80)], main)
    pen.shape([(50 + shift, peak), (50 + half, 80), (50 + half * 0.45, 80)], shade(main, 0.75))
    door = rng.uniform(9, 15)
    pen.shape([(50 + shift / 2, peak + 24), (50 + door, 80), (50 - door, 80)], accent)
    pen.line([(50 - half - 6, 80), (50 + half + 6, 80)], shade(accent, 0.6), 2.5)


def draw_watch(pen: Pen, main: Colour, accent: Colour, rng: random.Random) -> None:
    radius, strap = rng.uniform(20, 26), rng.uniform(9, 13)
    pen.shape([(50 - strap, 8), (50 + strap, 8), (50 + strap, 92), (50 - strap, 92)], accent)
    pen.disc((50, 50), radius, shade(main, 0.7))
    pen.disc((50, 50), radius - 4, (250, 248, 240) if rng.random() < 0.6 else main)
    for length, width in ((radius * 0.45, 3.5), (radius * 0.7, 2.5)):
        angle = rng.uniform(0, 2 * math.pi)
        tip = (50 + length * math.cos(angle), 50 + length * math.sin(angle))
        pen.line([(50, 50), tip], DARK, width)
    pen.disc((50 + radius + 2, 50), 3, shade(main, 0.6))


Drawing = Callable[[Pen, Colour, Colour, random.Random], None]
DRAWINGS: Sequence[tuple[str, Drawing]] = (
    (KETTLE.name, draw_kettle),
    (BACKPACK.name, draw_backpack),
    (LAMP.name, draw_lamp),
    (HEADSET.name, draw_headset),
    (BICYCLE.name, draw_bicycle),
    (TENT.name, draw_tent),
    (WATCH.name, draw_watch),
)
"""The label of a picture is the index of its kind."""


def shade(colour: Colour, factor: float) -> Colour:
    """Makes the colour darker (`factor` below 1) or lighter."""
    red, green, blue = (min(255, round(part * factor)) for part in colour)
    return red, green, blue


def picture(label: int, rng: random.Random, image_px: int = IMAGE_PX) -> Image.Image:
    """An RGB picture of the kind with this label."""
    background = rng.choice(BACKGROUNDS)
    main, accent = rng.sample(TONES, 2)
    canvas = Image.new("RGB", (image_px * OVERSAMPLING, image_px * OVERSAMPLING), background)
    _, draw = DRAWINGS[label]
    pen = Pen(canvas, rng)
    draw(pen, main, shade(accent, rng.uniform(0.6, 1.0)), rng)
    return canvas.resize((image_px, image_px), Image.Resampling.BOX)


def iter_image_tables(num_images: int, seed: int, image_px: int = IMAGE_PX) -> Iterator[pa.Table]:
    """The table `images`, every kind equally often, in tables of bounded size."""
    rng = random.Random(f"images {seed}")
    for start in range(0, num_images, BATCH_ROWS):
        rows = []
        for index in range(start, min(start + BATCH_ROWS, num_images)):
            label = index % len(DRAWINGS)
            name, _ = DRAWINGS[label]
            png = _png(picture(label, rng, image_px))
            image = {"bytes": png, "path": f"{name}-{index}.png"}
            rows.append({"image": image, "label": label, "label_name": name})
        yield pa.Table.from_pylist(rows, schema=IMAGES_SCHEMA)


def _png(image: Image.Image) -> bytes:
    sink = io.BytesIO()
    image.save(sink, format="PNG")
    return sink.getvalue()
