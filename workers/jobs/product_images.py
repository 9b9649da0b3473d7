"""Synthetic pictures of every class in the table `images`, for training with too few real ones."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from aigc_models.images.checks import Checks
from infra.errors import InputError
from infra.storage import Storage
from workers.inputs.classes import check_amount, order_pictures
from workers.inputs.pictures import encode_png
from workers.inputs.tables import HUGGING_FACE_IMAGE, IMAGE
from workers.job import Job, JobSettings
from workers.pins import Order, Snapshot
from workers.quality.images import IMAGE_GATES, ImageMeter

if TYPE_CHECKING:
    from aigc_models.images.checked import CheckedImageModel, CheckedImages

DIGITS = 5
"""Decimals of errors and ratios; their last bits depend on how many pictures are judged at once."""

IMAGE_COLUMNS = (
    pa.field("image", IMAGE),  # nullable, because `datasets` reads no images from other columns
    pa.field("passed", pa.bool_(), nullable=False),
    pa.field("checks", pa.list_(pa.string()), nullable=False),
    pa.field("reconstruction_error", pa.float64(), nullable=False),
    pa.field("nearest_ratio", pa.float64(), nullable=False),
    pa.field("candidate", pa.int32(), nullable=False),
)
"""The columns of a generated picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSettings(JobSettings):
    amount: str = "1x"
    """500: 500 of each class; 2x: twice as many as real pictures; up-to-1000: as many as a class
    needs for 1,000 with its real pictures."""
    rows_per_shard: int = 2048
    batch_rows: int = 2048
    num_candidates: int = 8
    """Pictures to draw at most for a row, until one passes all checks."""
    reject_odd: bool = True
    """Reject pictures that an autoencoder trained on real ones reconstructs badly."""
    reject_copies: bool = True
    """Reject near copies of training pictures."""
    reject_misread: bool = True
    """Reject pictures that a classifier trained on real ones assigns to another class."""

    def __post_init__(self) -> None:
        JobSettings.__post_init__(self)
        check_amount(self.amount)
        self.checks()

    def checks(self) -> Checks:
        return Checks(
            num_candidates=self.num_candidates,
            reject_odd=self.reject_odd,
            reject_copies=self.reject_copies,
            reject_misread=self.reject_misread,
        )


def order_images(
    storage: Storage, snapshot: Snapshot, settings: ImageSettings
) -> tuple[Order, ...]:
    return order_pictures(storage, snapshot, settings.amount)


def generate(
    model: "CheckedImageModel", batch: pa.Table, row_seeds: Sequence[int], settings: ImageSettings
) -> pa.Table:
    """A picture for each row; `threads` further threads encode PNG while the model generates."""
    label_of = {name: label for label, name in enumerate(model.label_names)}
    names = batch["label_name"].to_pylist()
    unknown = sorted(set(names) - label_of.keys())
    if unknown:
        raise InputError(
            f"the model has not learned the class {unknown[0]!r}: "
            "retrain it with `nightshift train product_images`"
        )
    labels = [label_of[name] for name in names]
    with ThreadPoolExecutor(settings.threads) as encoders:
        groups = model.generate(labels, row_seeds, settings.checks())
        futures = [encoders.submit(_image_rows, group, batch["image_id"]) for group in groups]
    row_of: dict[int, dict[str, Any]] = {}
    for future in futures:
        row_of |= future.result()
    rows = [row_of[index] for index in range(batch.num_rows)]
    columns = pa.Table.from_pylist(rows, pa.schema(IMAGE_COLUMNS))
    for name in columns.column_names:
        batch = batch.append_column(name, columns[name])
    return batch


def _image_rows(group: "CheckedImages", ids: pa.ChunkedArray) -> dict[int, dict[str, Any]]:
    """The values of `IMAGE_COLUMNS`, by the index of their row in the batch."""
    pictures = zip(
        group.rows,
        group.images_BHWC.numpy(),
        group.errors_B.tolist(),
        group.ratios_B.tolist(),
        group.candidates,
        group.problems,
        strict=True,
    )
    rows = {}
    for index, pixels_HWC, error, ratio, candidate, problems in pictures:
        rows[index] = {
            "image": {"bytes": encode_png(pixels_HWC), "path": f"{ids[index]}.png"},
            "passed": not problems,
            "checks": problems,
            "reconstruction_error": round(error, DIGITS),
            "nearest_ratio": round(ratio, DIGITS),
            "candidate": candidate,
        }
    return rows


JOB = Job(
    name="product_images",
    version=2,
    table="images",
    id_column="image_id",
    columns=("image_id", "label", "label_name"),
    model="image_generator",
    settings=ImageSettings,
    output=pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("label", pa.int64(), nullable=False),
            pa.field("label_name", pa.string(), nullable=False),
            *IMAGE_COLUMNS,
        ],
        metadata=HUGGING_FACE_IMAGE,
    ),
    generate=generate,
    meter=ImageMeter,
    gates=IMAGE_GATES,
    orders=order_images,
)
