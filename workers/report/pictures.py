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

EACH = 10
"""Pictures of a class that are shown, of either kind."""
MAX_CLASSES = 30
CELL_PX, GAP_PX = 48, 4
"""Of the grid: small pictures are shown larger."""
MAX_ROWS_READ = 20_000
"""Of the inputs: real pictures of a class that begins later are not shown."""


@dataclass(frozen=True, slots=True)
class ClassSamples:
    name: str
    real: list[str]
    """Data URIs of PNGs."""
    synthetic: list[str]


def class_samples(storage: Storage, manifest: Manifest) -> list[ClassSamples]:
    orders = manifest.orders[:MAX_CLASSES]
    wanted = {order.label for order in orders}
    synthetic = _first_of_each(storage, [part.key for part in manifest.parts], wanted)
    sizes = [
        Image.open(io.BytesIO(content)).size[0]
        for contents in synthetic.values()
        for content in contents[:1]
    ]
    objects = [item.key for item in manifest.snapshot.objects]
    real = _first_of_each(storage, objects, wanted, MAX_ROWS_READ) if sizes else {}
    return [
        ClassSamples(
            name=order.label_name,
            real=[_data_uri(_resized(content, sizes[0])) for content in real.get(order.label, [])],
            synthetic=[_data_uri(content) for content in synthetic.get(order.label, [])],
        )
        for order in orders
    ]


def draw_grid(storage: Storage, manifest: Manifest) -> bytes:
    """PNG of some published pictures: a row for each class."""
    wanted = {order.label for order in manifest.orders[:MAX_CLASSES]}
    found = _first_of_each(storage, [part.key for part in manifest.parts], wanted)
    rows = [
        [Image.open(io.BytesIO(content)) for content in found[label]] for label in sorted(found)
    ]
    px = rows[0][0].size[0] if rows else 1
    cell = max(px, CELL_PX) + GAP_PX
    grid = Image.new("RGB", (EACH * cell + GAP_PX, max(1, len(rows)) * cell + GAP_PX), "white")
    for down, row in enumerate(rows):
        for across, image in enumerate(row):
            shown = image.convert("RGB").resize(
                (cell - GAP_PX, cell - GAP_PX), Image.Resampling.NEAREST
            )
            grid.paste(shown, (GAP_PX + across * cell, GAP_PX + down * cell))
    sink = io.BytesIO()
    grid.save(sink, "PNG")
    return sink.getvalue()


def write_grid(storage: Storage, manifest: Manifest) -> str:
    """Writes the grid beside the partition's page and returns its key."""
    key = f"reports/{manifest.job}/dt={manifest.date}/pictures.png"
    storage.put(key, draw_grid(storage, manifest), content_type="image/png")
    return key


def _first_of_each(
    storage: Storage, keys: list[str], wanted: set[int], max_rows: int | None = None
) -> dict[int, list[bytes]]:
    found: dict[int, list[bytes]] = defaultdict(list)
    for number, (label, content) in enumerate(_iter_pictures(storage, keys)):
        if label in wanted and len(found[label]) < EACH:
            found[label].append(content.as_py())
        if number == max_rows or (
            found.keys() == wanted and all(len(each) == EACH for each in found.values())
        ):
            break
    return found


def _iter_pictures(storage: Storage, keys: list[str]) -> Iterator[tuple[int, Any]]:
    for key in keys:
        with open_parquet(storage, key) as file:
            for batch in iter_batches(file, columns=["image", "label"]):
                yield from zip(
                    batch["label"].to_pylist(), batch["image"].field("bytes"), strict=True
                )


def _resized(content: bytes, px: int) -> bytes:
    """As training saw it; a picture that is none since it was put is left as it is."""
    try:
        image = to_square(open_picture(content), px)
    except PictureError:
        return content
    sink = io.BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()


def _data_uri(content: bytes) -> str:
    return f"data:image/png;base64,{b64encode(content).decode()}"
