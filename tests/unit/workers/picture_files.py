"""Files of the table `images`, made of simple drawings."""

import io
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from workers.inputs.tables import HUGGING_FACE_IMAGE, IMAGE

SCHEMA = pa.schema(
    [("image", IMAGE), ("label", pa.int64()), ("label_name", pa.string())],
    metadata=HUGGING_FACE_IMAGE,
)


def picture(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def drawing(label: int, rng: random.Random, px: int = 16, mode: str = "L") -> Image.Image:
    """A disc for an even label, a cross for an odd one: no two alike."""
    image = Image.new("L", (px, px), rng.randrange(60))
    draw, ink = ImageDraw.Draw(image), rng.randrange(160, 256)
    x, y, size = (
        px / 2 + rng.uniform(-2, 2),
        px / 2 + rng.uniform(-2, 2),
        rng.uniform(px / 5, px / 3),
    )
    if label % 2:
        draw.line((x - size, y, x + size, y), ink, 2)
        draw.line((x, y - size, x, y + size), ink, 2)
    else:
        draw.ellipse((x - size, y - size, x + size, y + size), ink)
    return image.convert(mode)


def drawings(
    counts: dict[tuple[int, str], int], px: int = 16, seed: int = 0, mode: str = "L"
) -> pa.Table:
    rng = random.Random(seed)
    rows = [
        {
            "image": {"bytes": picture(drawing(label, rng, px, mode)), "path": ""},
            "label": label,
            "label_name": name,
        }
        for (label, name), count in counts.items()
        for _ in range(count)
    ]
    rng.shuffle(rows)
    return pa.Table.from_pylist(rows, SCHEMA)


def write_drawings(path: Path, counts: dict[tuple[int, str], int], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(drawings(counts, **options), path)
    return path
