"""Synthetic pictures of every class of the table `images`, for training jobs that have too few real
ones."""

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
"""After the point, of errors and ratios: their last bits depend on how many pictures were judged at
once."""


IMAGE_COLUMNS = (
    pa.field("image", IMAGE),  # `datasets` takes a column that may not be null for no image
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
    """500: so many of each class; 2x: twice as many as there are real ones; up-to-1000: what a
    class lacks of that."""
    rows_per_shard: int = 2048
    batch_rows: int = 2048
    num_candidates: int = 8
    """Pictures drawn for a row until one is neither odd nor misread nor a near copy of a training
    picture."""
    reject_odd: bool = True
    """Whether pictures that the autoencoder of real ones reconstructs badly are set aside."""
    reject_copies: bool = True
    reject_misread: bool = True
    """Whether pictures that a classifier of real ones takes for another class are set aside."""

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
    """A picture for each row; pictures become PNG in `threads` further threads while the next ones
    are generated."""
    places = {name: place for place, name in enumerate(model.label_names)}
    names = batch["label_name"].to_pylist()
    unknown = sorted(set(names) - places.keys())
    if unknown:
        raise InputError(
            f"the model has learned no class {unknown[0]!r}: train it anew with `nightshift train product_images`"
        )
    with ThreadPoolExecutor(settings.threads) as encoders:
        groups = model.generate([places[name] for name in names], row_seeds, settings.checks())
        encoded = [encoders.submit(_image_rows, group, batch["image_id"]) for group in groups]
    rows = [row for future in encoded for row in future.result()]
    found = pa.Table.from_pylist(
        sorted(rows, key=lambda row: row.pop("place")), pa.schema(IMAGE_COLUMNS)
    )
    for name in found.column_names:
        batch = batch.append_column(name, found[name])
    return batch


def _image_rows(group: "CheckedImages", ids: pa.ChunkedArray) -> list[dict[str, Any]]:
    figures = zip(group.errors_B.tolist(), group.ratios_B.tolist(), strict=True)
    return [
        {
            "place": place,
            "image": {"bytes": encode_png(pixels_HWC), "path": f"{ids[place]}.png"},
            "passed": not problems,
            "checks": problems,
            "reconstruction_error": round(error, DIGITS),
            "nearest_ratio": round(ratio, DIGITS),
            "candidate": candidate,
        }
        for place, pixels_HWC, candidate, problems, (error, ratio) in zip(
            group.rows,
            group.images_BHWC.numpy(),
            group.candidates,
            group.problems,
            figures,
            strict=True,
        )
    ]


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
