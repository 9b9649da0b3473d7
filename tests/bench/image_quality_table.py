"""Trains image model families, and prints the quality of their pictures and the training time.

    python tests/bench/image_quality_table.py [--train A.parquet --test B.parquet] [--out DIR]
                                              [--families flow,gan]

Without tables it draws simple shapes. Both tables have the columns `image` (struct<bytes, path>),
`label` and, if classes have names, `label_name`. Figures are measured on the test pictures, which
training never sees, by a classifier trained on all training pictures. DIR/FAMILY holds the model
and `samples.png`, one row for each class.

`--few-shot N` trains on N pictures of each class, and also prints what a classifier gains from
synthetic pictures.
"""

import argparse
import io
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import torch
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table
from torch import Tensor

from aigc_models.images.classifier import Classifier, train_classifier
from aigc_models.images.data import LabelledImages
from aigc_models.images.metrics import augmentation_gain, image_metrics, near_copy_share
from aigc_models.images.model import ImageModel
from aigc_models.images.settings import FAMILIES
from aigc_models.images.tasks import grid
from aigc_models.images.training import default_image_settings, train_image_model
from aigc_models.seeds import derive_seed
from aigc_models.training.settings import TrainingProgress

SHAPES = ("circle", "square", "triangle", "cross")
SHOWN_PER_CLASS = 12


@dataclass(frozen=True, slots=True)
class Pictures:
    """Real pictures: for training, and for measuring."""

    train: LabelledImages
    test: LabelledImages
    classifier: Classifier
    """Trained on the training pictures."""
    names: tuple[str, ...]
    flip: bool


def read_pictures(path: Path) -> tuple[LabelledImages, tuple[str, ...]]:
    present = pq.read_schema(path).names
    columns = [name for name in ("image", "label", "label_name") if name in present]
    rows = pq.read_table(path, columns=columns).to_pylist()
    pictures = [Image.open(io.BytesIO(row["image"]["bytes"])) for row in rows]
    mode = "L" if all(picture.mode in ("L", "1") for picture in pictures) else "RGB"
    labels_B = torch.tensor([row["label"] for row in rows])
    names = {row["label"]: str(row.get("label_name", row["label"])) for row in rows}
    images_BHWC = torch.stack([to_tensor(picture.convert(mode)) for picture in pictures])
    return LabelledImages(images_BHWC, labels_B), tuple(names[label] for label in range(len(names)))


def to_tensor(picture: Image.Image) -> Tensor:
    """[H, W, C] in uint8."""
    shape = (picture.height, picture.width, len(picture.getbands()))
    return torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(shape)


def drawn_shapes(num: int, seed: int) -> LabelledImages:
    """Circles, squares, triangles and crosses of any size, place and brightness, 28 pixels wide."""
    generator = torch.Generator().manual_seed(seed)
    pictures = []
    for row in range(num):
        size, left, top, light = (float(value) for value in torch.rand(4, generator=generator))
        side = 8 + 12 * size
        x, y = 1 + left * (25 - side), 1 + top * (25 - side)
        picture = drawn(SHAPES[row % len(SHAPES)], x, y, side, round(130 + 120 * light))
        pictures.append(to_tensor(picture))
    return LabelledImages(torch.stack(pictures), torch.arange(num) % len(SHAPES))


def drawn(shape: str, x: float, y: float, side: float, light: int) -> Image.Image:
    picture = Image.new("L", (28, 28))
    draw, box = ImageDraw.Draw(picture), (x, y, x + side, y + side)
    if shape == "circle":
        draw.ellipse(box, fill=light)
    elif shape == "square":
        draw.rectangle(box, fill=light)
    elif shape == "triangle":
        draw.polygon([(x, y + side), (x + side, y + side), (x + side / 2, y)], fill=light)
    else:
        draw.line(box, fill=light, width=4)
        draw.line((x, y + side, x + side, y), fill=light, width=4)
    return picture


def few_of_each(data: LabelledImages, num: int, seed: int) -> LabelledImages:
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for label in data.labels_B.unique():
        rows = torch.nonzero(data.labels_B == label)[:, 0]
        chosen.append(rows[torch.randperm(len(rows), generator=generator)[:num]])
    return data.select(torch.cat(chosen))


def show(progress: TrainingProgress) -> None:
    if progress.step % 200 == 0:
        print(
            f"  step {progress.step}: loss {progress.loss:.3f}, {progress.fraction:.0%}", flush=True
        )


def measure(family: str, real: Pictures, args: argparse.Namespace) -> dict[str, float]:
    """Trains a model and measures its pictures; CPU minutes are those of this process."""
    folder = args.out / family
    budget = {"cpu_budget_s": args.cpu_budget} if args.cpu_budget else {}
    few = {"images_per_class": args.few_shot} if args.few_shot else {}
    settings = default_image_settings(family, **few, seed=args.seed, flip=real.flip, **budget)
    train = few_of_each(real.train, args.few_shot, args.seed) if args.few_shot else real.train
    started = time.process_time()
    trained = train_image_model(
        train.images_BHWC,
        train.labels_B,
        real.names,
        folder / "model",
        settings=settings,
        work_dir=folder / "work",
        on_progress=show,
    )
    all_minutes = (time.process_time() - started) / 60
    model = ImageModel.load(folder / "model")
    labels_B = real.train.labels_B.sort().values
    seeds = [derive_seed(args.seed + 1000, i) for i in range(len(labels_B))]
    started = time.process_time()
    made = LabelledImages(model.sample(labels_B.tolist(), seeds), labels_B)
    pictures_per_s = len(made) / (time.process_time() - started)
    write_samples(made, folder / "samples.png")
    figures = image_metrics(made, real.train, real.test, real.classifier, flip=real.flip)
    shown = {
        "FCD": figures["fcd"],
        "floor": figures["fcd_floor"],
        "CAS": figures["cas"],
        "CAS real": figures["cas_real"],
        "near copies": near_copy_share(made, train, real.test),
        "diversity": figures["diversity"],
        "images per CPU s": pictures_per_s,
        "training, CPU min": trained["cpu_seconds"] / 60,
        "with judging": all_minutes,
    }
    if not args.few_shot:
        return shown
    gain = augmentation_gain(train, made, real.test, len(real.names))
    return shown | {name.replace("_", "+"): gain[name] for name in list(gain)[:4]}


def write_samples(made: LabelledImages, path: Path) -> None:
    rows = [
        torch.nonzero(made.labels_B == label)[:SHOWN_PER_CLASS, 0]
        for label in made.labels_B.unique()
    ]
    columns = min(len(row) for row in rows)
    shown = torch.cat([row[:columns] for row in rows])
    picture = grid(made.images_BHWC[shown], columns).permute(1, 2, 0)
    Image.fromarray(picture.squeeze(2).numpy()).save(path)


def print_table(
    table: dict[str, dict[str, float]], real: Pictures, args: argparse.Namespace
) -> None:
    source = args.train or "drawn shapes"
    sizes = f"{len(real.train)} pictures, measured on {len(real.test)} others"
    title = f"{source}: {sizes}; seed {args.seed}"
    shown = Table("family", *next(iter(table.values())), title=title)
    for family, figures in table.items():
        shown.add_row(family, *(f"{value:,.4g}" for value in figures.values()))
    Console(width=220 if args.few_shot else 140).print(shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--out", type=Path, help="default: a temporary folder")
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument(
        "--cpu-budget",
        type=float,
        default=0.0,
        help="seconds of each training; 0: the family's default",
    )
    parser.add_argument("--few-shot", type=int, default=0, help="pictures of each class; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if (args.train is None) != (args.test is None):
        parser.error("give both --train and --test, or neither")
    torch.set_num_threads(1)
    if args.train:
        (train, names), (test, _) = read_pictures(args.train), read_pictures(args.test)
    else:
        train, test, names = drawn_shapes(2000, 0), drawn_shapes(500, 1), SHAPES
    flip = train.images_BHWC.shape[3] == 3
    real = Pictures(train, test, train_classifier([train], len(names), flip=flip), names, flip)
    with tempfile.TemporaryDirectory() as scratch:
        args.out = args.out or Path(scratch)
        table = {}
        for family in args.families.split(","):
            print(family, flush=True)
            table[family] = measure(family, real, args)
    print_table(table, real, args)


if __name__ == "__main__":
    main()
