"""The model that makes pictures of the classes in the table `images`, and how its training pictures
are read."""

from collections.abc import Callable, Iterator, Mapping, Sequence
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
from workers.inputs.reading import is_in_even_sample
from workers.model import ModelDeclaration
from workers.pins import Snapshot

if TYPE_CHECKING:
    from PIL.Image import Image

    from aigc_models.images.checked import CheckedImageModel
    from aigc_models.images.data import LabelledImages
    from aigc_models.images.model import ImageModel

MAX_IMAGES = 50_000
"""Pictures of one training, sampled evenly from each class; bounds memory."""
SAMPLES = "samples.png"
SAMPLES_EACH = 8
MAX_SAMPLE_CLASSES = 16


@dataclass(frozen=True, slots=True)
class LabelledPictures:
    """Training pictures, and the names of their classes in the order of the labels."""

    data: "LabelledImages"
    label_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.data)


def read_pictures(
    storage: Storage, snapshots: list[Snapshot], settings: ImageTrainingSettings
) -> LabelledPictures:
    """All pictures in one size; in RGB if any picture is, otherwise grey.

    Raises InputError for too few classes or pictures, for different sizes, and for bytes that are
    not a picture.
    """
    import torch

    from aigc_models.images.data import LabelledImages

    (snapshot,) = snapshots
    counts = count_classes(storage, snapshot)
    _check_counts(counts)
    names = tuple(name for _, name in counts)
    sample = _EvenSample(counts)
    labels: list[int] = []
    pictures: list[Image] = []
    place_of_size: dict[tuple[int, int], str] = {}
    for place, content, class_ in _iter_rows(storage, snapshot):
        if not sample.includes_next(class_):
            continue
        try:
            image = open_picture(content)
        except PictureError as exc:
            raise InputError(f"{place}, column image: {exc}") from exc
        place_of_size.setdefault(image.size, place)
        if not settings.image_px and (len(place_of_size) > 1 or image.width != image.height):
            raise _size_error(place_of_size)
        pictures.append(to_square(image, settings.image_px or image.width))
        _, name = class_
        labels.append(names.index(name))
    pixels = torch.from_numpy(_stack(pictures))
    return LabelledPictures(LabelledImages(pixels, torch.tensor(labels)), names)


def _check_counts(counts: Mapping[LabelName, int]) -> None:
    names = [name for _, name in counts]
    if len(set(names)) < 2:
        raise InputError(
            f"the pictures are all of one class, {names[0]!r}: at least two are needed"
        )
    few = [f"{name} ({count})" for (_, name), count in counts.items() if count < 2]
    if few:
        raise InputError(
            f"too few pictures to learn from, add some or leave the class out: {', '.join(few)}"
        )


def _stack(pictures: Sequence["Image"]) -> np.ndarray:
    """uint8 [B, H, W, 1 or 3]."""
    mode = COLOUR if any(picture.mode == COLOUR for picture in pictures) else GREY
    pixels = [
        np.asarray(picture.convert(mode)).reshape(picture.height, picture.width, -1)
        for picture in pictures
    ]
    return np.stack(pixels)


def survey(storage: Storage, snapshots: list[Snapshot]) -> dict[str, Any]:
    """The size of the smallest class; for few pictures also the family `vae`, which memorises the
    fewest of them."""
    (snapshot,) = snapshots
    fewest = min(count_classes(storage, snapshot).values())
    found: dict[str, Any] = {"images_per_class": fewest}
    if fewest < FEW_IMAGES:
        found["family"] = "vae"
    return found


class _EvenSample:
    """Selects all pictures, or an even share of each class if there are too many for memory."""

    def __init__(self, counts: Mapping[LabelName, int]) -> None:
        self._counts = counts
        self._max_each = MAX_IMAGES
        if sum(counts.values()) > MAX_IMAGES:
            self._max_each = max(2, MAX_IMAGES // len(counts))
        self._num_seen = dict.fromkeys(counts, 0)

    def includes_next(self, class_: LabelName) -> bool:
        """Whether the next picture of the class is in the sample."""
        index, count = self._num_seen[class_], self._counts[class_]
        self._num_seen[class_] += 1
        return is_in_even_sample(index, count, min(count, self._max_each))


def _iter_rows(
    storage: Storage, snapshot: Snapshot
) -> Iterator[tuple[str, bytes | None, LabelName]]:
    """Yields (place, picture's bytes, class) for each row."""
    for item in snapshot.objects:
        row = 0
        with open_parquet(storage, item.key) as file:
            for batch in iter_batches(file, columns=["image", "label", "label_name"]):
                columns = batch["image"].field("bytes"), batch["label"], batch["label_name"]
                for content, label, name in zip(*columns, strict=True):
                    row += 1
                    yield f"{item.key}, row {row}", content.as_py(), (label.as_py(), name.as_py())


def _size_error(place_of_size: Mapping[tuple[int, int], str]) -> InputError:
    examples = list(place_of_size.items())[:2]
    found = "; ".join(f"{width} x {height} in {place}" for (width, height), place in examples)
    return InputError(
        "the pictures must be square and of one size, or be resized with "
        f"`--set image_px=32`: found {found}"
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
        sheet_png = sample_sheet(pictures.data, ImageModel.load(folder), settings.seed)
        (folder / SAMPLES).write_bytes(sheet_png)
    return metrics


def sample_sheet(data: "LabelledImages", model: "ImageModel", seed: int) -> bytes:
    """A PNG with a line for each class: real pictures, a gap, synthetic pictures."""
    rows: list[list[np.ndarray | None]] = []
    seeds = [derive_seed(seed, index) for index in range(SAMPLES_EACH)]
    for label in range(min(len(model.label_names), MAX_SAMPLE_CLASSES)):
        real = list(data.images_BHWC[data.labels_B == label][:SAMPLES_EACH].numpy())
        gap = [None] * (SAMPLES_EACH + 1 - len(real))
        synthetic = model.sample([label] * SAMPLES_EACH, seeds).numpy()
        rows.append([*real, *gap, *synthetic])
    return sheet(rows)


def evaluate(
    model: "CheckedImageModel", pictures: LabelledPictures, settings: ImageTrainingSettings
) -> dict[str, float]:
    """Metrics on the pictures that a training with `settings` holds out.

    Empty for a model of other classes or another picture size.
    """
    from aigc_models.images.training import evaluate_image_model

    has_same_classes = model.label_names == pictures.label_names
    has_same_shape = model.model.shape == tuple(pictures.data.images_BHWC.shape[1:])
    if not (has_same_classes and has_same_shape):
        return {}
    return evaluate_image_model(model.model, pictures.data, settings)


def load(folder: Path, device: str) -> "CheckedImageModel":
    from aigc_models.images.checked import CheckedImageModel

    return CheckedImageModel.load(folder, device=device)


def score(metrics: Mapping[str, float]) -> float:
    """Their value as training data (CAS); the Fréchet distance breaks ties."""
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
