"""The model that makes pictures of the classes of the table `images`, and how these are read for
training."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aigc_models.images.settings import (
    FAMILIES,
    FEW_IMAGES,
    QUICK,
    ImageTrainingSettings,
    default_image_settings,
)
from aigc_models.seeds import derive_seed
from aigc_models.training.settings import TrainingProgress
from infra.errors import InputError
from infra.storage import Storage
from infra.storage.parquet import iter_batches, open_parquet
from workers.inputs.classes import LabelName, count_classes
from workers.inputs.pictures import COLOUR, GREY, PictureError, open_picture, sheet, to_square
from workers.model import ModelDeclaration
from workers.pins import Snapshot

if TYPE_CHECKING:
    from aigc_models.images.checked import CheckedImageModel
    from aigc_models.images.data import LabelledImages
    from aigc_models.images.model import ImageModel

MAX_IMAGES = 50_000
"""Read for one training, spread evenly over each class; memory stays bounded."""
SAMPLES = "samples.png"
SAMPLES_EACH = 8
MAX_SAMPLE_CLASSES = 16


@dataclass(frozen=True, slots=True)
class LabelledPictures:
    """Pictures of a table, with the names of their classes in the order of the labels."""

    data: "LabelledImages"
    label_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.data)


def read_pictures(
    storage: Storage, snapshots: list[Snapshot], settings: ImageTrainingSettings
) -> LabelledPictures:
    """All pictures in one size, in RGB if any of them is; raises InputError naming file and row of
    one that is none."""
    import torch

    from aigc_models.images.data import LabelledImages

    (snapshot,) = snapshots
    counts = count_classes(storage, snapshot)
    names = tuple(name for _, name in counts)
    if len(set(names)) < 2:
        raise InputError(
            f"the pictures are all of one class, {names[0]!r}: at least two are needed"
        )
    few = [f"{name} ({count})" for (_, name), count in counts.items() if count < 2]
    if few:
        raise InputError(
            f"too few pictures to learn from, add some or leave the class out: {', '.join(few)}"
        )
    taken, labels, pictures = _Taken(counts), [], []
    place_of_size: dict[tuple[int, int], str] = {}
    for place, content, pair in _iter_rows(storage, snapshot):
        if not taken.take(pair):
            continue
        try:
            image = open_picture(content)
        except PictureError as exc:
            raise InputError(f"{place}, column image: {exc}") from exc
        place_of_size.setdefault(image.size, place)
        if not settings.image_px and (len(place_of_size) > 1 or image.width != image.height):
            raise _other_sizes(place_of_size)
        pictures.append(to_square(image, settings.image_px or image.width))
        labels.append(names.index(pair[1]))
    mode = COLOUR if any(picture.mode == COLOUR for picture in pictures) else GREY
    pixels = np.stack(
        [
            np.asarray(picture.convert(mode)).reshape(picture.height, picture.width, -1)
            for picture in pictures
        ]
    )
    return LabelledPictures(LabelledImages(torch.from_numpy(pixels), torch.tensor(labels)), names)


def survey(storage: Storage, snapshots: list[Snapshot]) -> dict[str, Any]:
    """Where there are few pictures, families need other settings, and a VAE learns the fewest of
    them by heart."""
    (snapshot,) = snapshots
    fewest = min(count_classes(storage, snapshot).values())
    return {"images_per_class": fewest, **({"family": "vae"} if fewest < FEW_IMAGES else {})}


class _Taken:
    """Which pictures are read: all, or of each class an even share of what memory has room for."""

    def __init__(self, counts: Mapping[LabelName, int]) -> None:
        self._counts = counts
        self._most = (
            max(2, MAX_IMAGES // len(counts)) if sum(counts.values()) > MAX_IMAGES else MAX_IMAGES
        )
        self._seen = dict.fromkeys(counts, 0)

    def take(self, pair: LabelName) -> bool:
        number, count = self._seen[pair], self._counts[pair]
        self._seen[pair] += 1
        wanted = min(count, self._most)
        return (number + 1) * wanted // count > number * wanted // count


def _iter_rows(
    storage: Storage, snapshot: Snapshot
) -> Iterator[tuple[str, bytes | None, LabelName]]:
    for item in snapshot.objects:
        row = 0
        with open_parquet(storage, item.key) as file:
            for batch in iter_batches(file, columns=["image", "label", "label_name"]):
                for content, label, name in zip(
                    batch["image"].field("bytes"), batch["label"], batch["label_name"], strict=True
                ):
                    row += 1
                    yield f"{item.key}, row {row}", content.as_py(), (label.as_py(), name.as_py())


def _other_sizes(places: Mapping[tuple[int, int], str]) -> InputError:
    found = "; ".join(
        f"{width} x {height} in {place}" for (width, height), place in list(places.items())[:2]
    )
    return InputError(
        f"the pictures must be square and of one size, or be brought to one with `--set image_px=32`: found {found}"
    )


def train(
    pictures: LabelledPictures,
    folder: Path,
    *,
    settings: ImageTrainingSettings,
    work_dir: Path,
    on_progress: Callable[[TrainingProgress], None],
    on_checkpoint: Callable[[Path], None],
) -> dict[str, float]:
    from aigc_models.images.checked import train_checked_image_model
    from aigc_models.images.data import ImageDataError
    from aigc_models.images.model import ImageModel

    try:
        metrics = train_checked_image_model(
            pictures.data,
            pictures.label_names,
            folder,
            settings=settings,
            work_dir=work_dir,
            on_progress=on_progress,
            on_checkpoint=on_checkpoint,
        )
    except ImageDataError as exc:
        raise InputError(f"the pictures cannot be learned from: {exc}") from exc
    if metrics:
        (folder / SAMPLES).write_bytes(
            sample_sheet(pictures.data, ImageModel.load(folder), settings.seed)
        )
    return metrics


def sample_sheet(data: "LabelledImages", model: "ImageModel", seed: int) -> bytes:
    """A PNG with a line for each class: real pictures, a gap, synthetic ones."""
    rows: list[list[np.ndarray | None]] = []
    for label in range(min(len(model.label_names), MAX_SAMPLE_CLASSES)):
        real = list(data.images_BHWC[data.labels_B == label][:SAMPLES_EACH].numpy())
        made = model.sample(
            [label] * SAMPLES_EACH, [derive_seed(seed, i) for i in range(SAMPLES_EACH)]
        )
        rows.append([*real, *[None] * (SAMPLES_EACH + 1 - len(real)), *made.numpy()])
    return sheet(rows)


def evaluate(
    model: "CheckedImageModel", pictures: LabelledPictures, settings: ImageTrainingSettings
) -> dict[str, float]:
    """Metrics on what a training with `settings` holds out; none for a model of other classes or
    another size."""
    from aigc_models.images.training import evaluate_image_model

    if model.label_names != pictures.label_names or model.model.shape != tuple(
        pictures.data.images_BHWC.shape[1:]
    ):
        return {}
    return evaluate_image_model(model.model, pictures.data, settings)


def load(folder: Path, device: str) -> "CheckedImageModel":
    from aigc_models.images.checked import CheckedImageModel

    return CheckedImageModel.load(folder, device=device)


def score(metrics: Mapping[str, float]) -> float:
    """What the pictures are worth as training data; of equals, the one of the smaller Fréchet
    distance."""
    return metrics["cas"] - metrics["fcd"] / 1000


MODEL = ModelDeclaration(
    name="image_generator",
    version=1,
    unit="pictures",
    tables=("images",),
    families=FAMILIES,
    default_settings=default_image_settings,
    survey=survey,
    quick=QUICK,
    read_examples=read_pictures,
    train=train,
    load=load,
    evaluate=evaluate,
    score=score,
    figures={
        "FCD": "fcd",
        "floor": "fcd_floor",
        "CAS": "cas",
        "CAS of real": "cas_real",
        "near copies": "near_copy_share",
    },
)
