"""Published pictures of each class beside real ones."""

import io
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image

from infra.storage import Storage
from infra.storage.parquet import iter_batches, open_parquet
from workers.inputs.pictures import PictureError, open_picture, to_square
from workers.partitions.manifest import Manifest

PICTURES_PER_CLASS = 10
"""Of published and of real ones."""
MAX_CLASSES = 30
CELL_PX, GAP_PX = 48, 4
"""Of the grid: smaller pictures are enlarged to a cell."""
MAX_ROWS_READ = 20_000
"""Of the inputs. A class whose first picture comes later shows no real ones."""


@dataclass(frozen=True, slots=True)
class ClassSamples:
    name: str
    real: list[str]
    """Data URIs of PNGs."""
    synthetic: list[str]


def class_samples(storage: Storage, manifest: Manifest) -> list[ClassSamples]:
    orders = manifest.orders[:MAX_CLASSES]
    wanted = {order.label for order in orders}
    synthetic = _first_of_each_class(storage, [part.key for part in manifest.parts], wanted)
    first = next((contents[0] for contents in synthetic.values() if contents), None)
    real: dict[int, list[bytes]] = {}
    if first is not None:
        px = Image.open(io.BytesIO(first)).size[0]
        objects = [item.key for item in manifest.snapshot.objects]
        found = _first_of_each_class(storage, objects, wanted, MAX_ROWS_READ)
        for label, contents in found.items():
            real[label] = [_resized(content, px) for content in contents]
    return [
        ClassSamples(
            name=order.label_name,
            real=[_data_uri(content) for content in real.get(order.label, [])],
            synthetic=[_data_uri(content) for content in synthetic.get(order.label, [])],
        )
        for order in orders
    ]


def draw_grid(storage: Storage, manifest: Manifest) -> bytes:
    """PNG of some published pictures, a row for each class."""
    wanted = {order.label for order in manifest.orders[:MAX_CLASSES]}
    found = _first_of_each_class(storage, [part.key for part in manifest.parts], wanted)
    rows = []
    for label in sorted(found):
        rows.append([Image.open(io.BytesIO(content)) for content in found[label]])
    px = rows[0][0].size[0] if rows else 1
    shown_px = max(px, CELL_PX)
    cell_px = shown_px + GAP_PX
    width_px = PICTURES_PER_CLASS * cell_px + GAP_PX
    height_px = max(1, len(rows)) * cell_px + GAP_PX
    grid = Image.new("RGB", (width_px, height_px), "white")
    for down, row in enumerate(rows):
        for across, image in enumerate(row):
            shown = image.convert("RGB").resize((shown_px, shown_px), Image.Resampling.NEAREST)
            grid.paste(shown, (GAP_PX + across * cell_px, GAP_PX + down * cell_px))
    sink = io.BytesIO()
    grid.save(sink, "PNG")
    return sink.getvalue()


def write_grid(storage: Storage, manifest: Manifest) -> str:
    """Writes the grid beside the partition's page and returns its key."""
    key = f"reports/{manifest.job}/dt={manifest.date}/pictures.png"
    storage.put(key, draw_grid(storage, manifest), content_type="image/png")
    return key


def _first_of_each_class(
    storage: Storage, keys: list[str], wanted: set[int], max_rows: int | None = None
) -> dict[int, list[bytes]]:
    """The first PICTURES_PER_CLASS pictures of each wanted label that has any."""
    found: dict[int, list[bytes]] = defaultdict(list)
    num_left = len(wanted) * PICTURES_PER_CLASS
    for number, (label, content) in enumerate(_iter_pictures(storage, keys)):
        if label in wanted and len(found[label]) < PICTURES_PER_CLASS:
            found[label].append(content.as_py())
            num_left -= 1
        if num_left == 0 or number == max_rows:
            break
    return found


def _iter_pictures(storage: Storage, keys: list[str]) -> Iterator[tuple[int, Any]]:
    for key in keys:
        with open_parquet(storage, key) as file:
            for batch in iter_batches(file, columns=["image", "label"]):
                contents = batch["image"].field("bytes")
                yield from zip(batch["label"].to_pylist(), contents, strict=True)


def _resized(content: bytes, px: int) -> bytes:
    """The picture as training sees it; unchanged if it cannot be read any more."""
    try:
        image = to_square(open_picture(content), px)
    except PictureError:
        return content
    sink = io.BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()


def _data_uri(content: bytes) -> str:
    return f"data:image/png;base64,{b64encode(content).decode()}"
