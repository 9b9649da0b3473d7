"""Training steps per second of plain and compiled networks, on a GPU or one CPU thread.

    python -m tests.bench.training_speed [--blocks 5] [--steps 20] [--device auto]

Uses default sizes and batches on made-up examples, and measures everything in a training step
except validation. Plain and compiled networks take turns, a block of steps each. Also prints how
long compiling took, which a longer training has to make up for.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from aigc_models.device import resolve_device
from aigc_models.images.data import LabelledImages
from aigc_models.images.families import build_image_network
from aigc_models.images.settings import default_image_settings
from aigc_models.images.tasks import GENERATOR_STAGES
from aigc_models.images.training import build_image_corpus
from aigc_models.recommenders.data import HeldOut, Items, as_sequences
from aigc_models.recommenders.knn import ItemKNN
from aigc_models.recommenders.model import Recommender
from aigc_models.recommenders.networks import build_item_network
from aigc_models.recommenders.settings import default_recommender_settings
from aigc_models.recommenders.training import recommender_task
from aigc_models.text.corpus import build_corpus
from aigc_models.text.settings import default_settings
from aigc_models.text.training import build_text_network, build_tokenizer, text_task
from aigc_models.training.loop import TrainingLoop
from aigc_models.training.settings import LoopSettings
from aigc_models.training.step import Task
from tests.bench.actor_environment import enter_actor_environment
from tests.bench.text_quality_table import read_examples, sample_tables

NUM_IMAGES, IMAGE_PX, NUM_CLASSES = 1_000, 28, 10
NUM_ITEMS, NUM_USERS = 5_000, 2_000
Training = tuple[nn.Module, Task, LoopSettings]


def text(device: torch.device, folder: Path) -> Training:
    settings = default_settings("gpt")
    corpus = build_corpus(read_examples(sample_tables(folder)[0]), settings.validation_share)
    tokenizer = build_tokenizer(corpus, settings)
    network = build_text_network(corpus, tokenizer, settings).to(device)
    return network, text_task(corpus, tokenizer, settings, device), settings


def recommender(family: str, device: torch.device) -> Training:
    settings, source = default_recommender_settings(family), np.random.default_rng(0)
    items = Items(tuple(f"item {number:05d}" for number in range(NUM_ITEMS)))
    sizes = source.integers(3, 60, size=NUM_USERS)
    histories = [source.integers(NUM_ITEMS, size=size) for size in sizes]
    names = [[f"item {number:05d}" for number in history] for history in histories]
    sequences = as_sequences([items.tokens(history) for history in names])
    network = build_item_network(family, len(items), settings.network_options()).to(device)
    knn = ItemKNN.fit(sequences, items.vocab_size, device=device)
    popularity_V = torch.ones(items.vocab_size).to(device)
    model = Recommender(family, network, knn, items, popularity_V, max_items=settings.max_items)
    nobody = HeldOut([], torch.zeros(0, dtype=torch.int64))
    return network, recommender_task(model, sequences, nobody, settings), settings


def pictures(family: str, device: torch.device) -> Training:
    settings = default_image_settings(family, classifier_steps=10, device=str(device))
    images_BHWC = torch.randint(256, (NUM_IMAGES, IMAGE_PX, IMAGE_PX, 1), dtype=torch.uint8)
    data = LabelledImages(images_BHWC, torch.arange(NUM_IMAGES) % NUM_CLASSES)
    corpus = build_image_corpus(data, [str(number) for number in range(NUM_CLASSES)], settings)
    shape = {"image_px": IMAGE_PX, "num_colours": 1, "num_classes": NUM_CLASSES}
    network = build_image_network(family, shape, settings.network).to(device)
    stage = GENERATOR_STAGES[family](network, corpus, settings)
    return stage.network, stage.task, settings


class Steps:
    """A training that is driven from outside."""

    def __init__(self, training: Training, folder: Path, *, torch_compile: bool) -> None:
        network, task, settings = training
        settings = replace(settings, torch_compile=torch_compile)
        self.loop = TrainingLoop(network, task, settings, folder)

    def seconds(self, num_steps: int) -> float:
        started = time.monotonic()
        losses = [self.loop.train_step(0.5) for _ in range(num_steps)]
        float(next(iter(losses[-1].values())))  # waits for the GPU
        return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    enter_actor_environment()
    torch.set_num_threads(1)
    device = resolve_device(args.device)
    table = Table(
        "", "steps/s", "tokens or pictures/s", "compiled, steps/s", "ratio", "to compile, s"
    )
    with tempfile.TemporaryDirectory(prefix="training-speed-") as name:
        folder = Path(name)
        trainings: dict[str, Callable[[], Training]] = {
            "texts, gpt": lambda: text(device, folder),
            "recommender, gpt": lambda: recommender("gpt", device),
            "recommender, bert": lambda: recommender("bert", device),
            "pictures, vae": lambda: pictures("vae", device),
            "pictures, gan": lambda: pictures("gan", device),
            "pictures, flow": lambda: pictures("flow", device),
        }
        for what, training in trainings.items():
            plain = Steps(training(), folder, torch_compile=False)
            compiled = Steps(training(), folder, torch_compile=True)
            first_s = plain.seconds(args.steps)
            first_compiled_s = compiled.seconds(args.steps)
            num_tokens = plain.loop.counters.num_tokens / args.steps
            seconds = [
                (plain.seconds(args.steps), compiled.seconds(args.steps))
                for _ in range(args.blocks)
            ]
            plain_rate = args.steps / median(one for one, _ in seconds)
            compiled_rate = args.steps / median(other for _, other in seconds)
            ratio = median(one / other for one, other in seconds)
            table.add_row(
                what,
                f"{plain_rate:,.1f}",
                f"{plain_rate * num_tokens:,.0f}",
                f"{compiled_rate:,.1f}",
                f"{ratio:.2f}",
                f"{first_compiled_s - first_s:.0f}",
            )
    kind = torch.cuda.get_device_name() if device.type == "cuda" else "one thread of the CPU"
    Console(width=140).print(
        f"training on {kind}, blocks of {args.steps} steps in turns, medians of {args.blocks}",
        table,
    )


if __name__ == "__main__":
    main()
