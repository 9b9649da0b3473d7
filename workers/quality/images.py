"""The quality of a partition of pictures.

Keeps 8 bytes of every picture, and the pixels of some.
"""

import hashlib
import io
from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from workers.pins import Order
from workers.quality.gates import Gate, Quality

PICTURES_FOR_DIVERSITY = 64
"""Pictures of each class, taken from the start."""
IMAGE_GATES = (
    Gate("passed_share", "min", 0.8),
    Gate("lowest_class_share", "min", 0.5),
    Gate("duplicate_share", "max", 0.01),
    Gate("lowest_diversity", "min", 0.02),
    Gate("diversity", "drift", 0.5),
)


class ImageMeter:
    """Measures `lowest_class_share`, `duplicate_share`, `diversity` and `lowest_diversity`.

    - lowest_class_share: accepted over ordered pictures, of the class where that is lowest
    - diversity: standard deviation between the pictures of a class, as a share of the value range,
      averaged over pixels and classes; lowest_diversity is that of the least diverse class. Both
      are missing if no class has two pictures.
    """

    columns = ("image", "label")

    def __init__(self) -> None:
        self._hashes = array("Q")
        self._accepted: Counter[int] = Counter()
        self._pixels: dict[int, list[np.ndarray]] = defaultdict(list)

    def add(self, batch: pa.RecordBatch) -> None:
        labels = batch["label"].to_pylist()
        contents = batch["image"].field("bytes").to_pylist()
        self._accepted.update(labels)
        for label, content in zip(labels, contents, strict=True):
            self._hashes.frombytes(hashlib.blake2b(content, digest_size=8).digest())
            if len(self._pixels[label]) < PICTURES_FOR_DIVERSITY:
                self._pixels[label].append(np.asarray(Image.open(io.BytesIO(content))))

    def quality(self, orders: Sequence[Order], _summary: Mapping[str, Any]) -> Quality:
        shares = [self._accepted[order.label] / order.num_rows for order in orders]
        deviations = [_deviation(pixels) for pixels in self._pixels.values() if len(pixels) > 1]
        num_images = len(self._hashes)
        num_distinct = len(np.unique(self._hashes))
        figures = {
            "lowest_class_share": min(shares, default=0.0),
            "duplicate_share": 1 - num_distinct / num_images if num_images else 0.0,
        }
        if deviations:
            figures["diversity"] = float(np.mean(deviations))
            figures["lowest_diversity"] = min(deviations)
        return figures


def _deviation(pixels: list[np.ndarray]) -> float:
    return float(np.std(np.stack(pixels).astype(np.float32) / 255, axis=0).mean())
