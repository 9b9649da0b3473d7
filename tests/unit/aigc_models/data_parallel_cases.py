"""Small trainings for one process or two, which write their results to a folder.

Run by `test_data_parallel.py`.
"""

import json
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from aigc_models.checkpoint import write_tensors
from aigc_models.images.classifier import train_classifier
from aigc_models.images.data import to_network
from aigc_models.images.networks.autoencoder import Autoencoder, AutoencoderConfig
from aigc_models.images.networks.vae import vae_loss
from aigc_models.images.perceptual import perceptual_loss
from aigc_models.images.settings import default_image_settings
from aigc_models.images.training import train_image_model
from aigc_models.recommenders.data import Items, as_sequences, hold_out, split_keys
from aigc_models.recommenders.knn import ItemKNN
from aigc_models.recommenders.model import Recommender
from aigc_models.recommenders.networks import build_item_network
from aigc_models.recommenders.settings import RecommenderSettings
from aigc_models.recommenders.training import recommender_task
from aigc_models.text.corpus import build_corpus
from aigc_models.text.settings import TrainingSettings
from aigc_models.text.training import build_text_network, build_tokenizer, text_task
from aigc_models.training.data_parallel import SharedLoss, is_first, mean_over_ranks
from aigc_models.training.loop import TrainingLoop
from aigc_models.training.settings import LoopSettings, TrainingProgress
from aigc_models.training.step import GradientStep, Task, build_step
from tests.unit.aigc_models.conftest import kettle
from tests.unit.aigc_models.image_cases import LABEL_NAMES, TINY, squares

STEPS = 30
SETTINGS = LoopSettings(
    max_steps=STEPS, cpu_budget_s=None, num_validations=3, warmup_steps=5, device="cpu"
)
TEXT = {
    "width": 16,
    "num_layers": 1,
    "num_heads": 2,
    "dropout": 0.0,
    "batch_tokens": 512,
    "vocab_size": 200,
}
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Case:
    network: nn.Module
    task: Task
    settings: LoopSettings


def line(num_rows: int = 7) -> Case:
    """A training in float64. Rows have different token counts, and the number of rows is not
    divisible by the number of ranks."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)).double()

    def batch_at(step: int) -> tuple[Tensor, Tensor]:
        source = torch.Generator().manual_seed(step)
        x_BF = torch.randn(num_rows, 4, generator=source, dtype=torch.float64)
        return x_BF, torch.randint(1, 5, (num_rows,), generator=source)

    def loss(network: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, int]:
        x_BF, tokens_B = batch
        error_B = (network(x_BF)[:, 0] - x_BF.sum(1)).square()
        return (error_B * tokens_B).sum() / tokens_B.sum(), int(tokens_B.sum())

    def validate(network: nn.Module) -> float:
        return float(loss(network, batch_at(1_000))[0])

    return Case(network, Task(batch_at=batch_at, loss=loss, validate=validate), SETTINGS)


def text(family: str) -> Case:
    source = random.Random(0)
    corpus = build_corpus([kettle(source) for _ in range(80)], 0.1)
    settings = TrainingSettings(**{**asdict(SETTINGS), **TEXT}, family=family)
    torch.manual_seed(0)
    tokenizer = build_tokenizer(corpus, settings)
    return Case(
        build_text_network(corpus, tokenizer, settings),
        text_task(corpus, tokenizer, settings, CPU),
        settings,
    )


def recommender(family: str) -> Case:
    source = random.Random(0)
    histories = [
        [str((start + place) % 12) for place in range(source.randint(4, 9))] for start in range(60)
    ]
    options = {
        "width": 16,
        "num_layers": 1,
        "num_heads": 2,
        "dropout": 0.0,
        "num_negatives": 0,
        "batch_tokens": 128,
    }
    settings = RecommenderSettings(**{**asdict(SETTINGS), **options}, family=family)
    items = Items(tuple(sorted({item for history in histories for item in history})))
    training, held_out = hold_out(
        as_sequences([items.tokens(history) for history in histories]),
        split_keys(histories),
        settings.num_scored,
    )
    torch.manual_seed(0)
    network = build_item_network(family, len(items), settings.network_options())
    popularity_V = torch.full((items.vocab_size,), 1 / items.vocab_size)
    knn = ItemKNN.fit(training, items.vocab_size)
    model = Recommender(family, network, knn, items, popularity_V, max_items=settings.max_items)
    return Case(network, recommender_task(model, training, held_out, settings), settings)


def pictures() -> Case:
    """The losses of a VAE, which are logarithms of means, without its noise."""
    data = squares(40)
    classifier = train_classifier([data], 2, steps=10).requires_grad_(False)
    torch.manual_seed(0)
    network = Autoencoder(AutoencoderConfig(image_px=28, num_colours=1, width=8))
    nothing_BZ = torch.zeros(1, 1)

    def batch_at(step: int) -> Tensor:
        return to_network(data.images_BHWC[torch.arange(step, step + 9) % 40])

    def loss(network: nn.Module, images_BCHW: Tensor) -> tuple[Tensor, int]:
        made_BCHW = network(images_BCHW)
        error = vae_loss(images_BCHW, made_BCHW, nothing_BZ, nothing_BZ)
        return error + perceptual_loss(classifier, images_BCHW, made_BCHW), len(images_BCHW)

    def validate(network: nn.Module) -> float:
        return float(loss(network, batch_at(0))[0])

    return Case(network, Task(batch_at=batch_at, loss=loss, validate=validate), SETTINGS)


CASES: dict[str, Callable[[], Case]] = {
    "line": line,
    "one row": partial(line, 1),
    **{f"text {family}": partial(text, family) for family in ("gpt", "lstm", "gru", "rnn")},
    **{f"recommender {family}": partial(recommender, family) for family in ("gpt", "gru")},
    "pictures": pictures,
}


def gradients(case: Case) -> dict[str, Tensor]:
    step = build_step(case.network, case.task, case.settings)
    assert isinstance(step, GradientStep)
    step.loss(case.task.batch_at(0))[0].backward()
    return {
        f"gradient.{name}": p.grad
        for name, p in case.network.named_parameters()
        if p.grad is not None
    }


def trained(name: str, folder: Path) -> None:
    """Writes the gradients of the first step, the final weights and the reported progress."""
    torch.set_num_threads(1)
    tensors = gradients(CASES[name]())
    case = CASES[name]()
    reported: list[TrainingProgress] = []
    result = TrainingLoop(
        case.network, case.task, case.settings, folder / "work", reported.append
    ).run()
    write_tensors(folder / "left.safetensors", tensors | dict(case.network.named_parameters()))
    left = {
        "losses": [progress.loss for progress in reported],
        "val_loss": result.val_loss,
        "steps": result.steps,
    }
    (folder / "left.json").write_text(json.dumps(left))


def decisions(folder: Path) -> None:
    """Trains by a CPU budget, of which the second rank spends more, then resumes with a larger one.

    Writes what each rank counted and drew.
    """
    drawn: list[float] = []
    counts = {"validated": 0, "saved": 0, "asked": 0}

    def validate(_: nn.Module) -> float:
        counts["validated"] += 1
        return float(counts["validated"])

    def save(_: Path) -> None:
        counts["saved"] += 1

    case = line()
    of_line = case.task.loss
    assert of_line is not None

    def batch_at(step: int) -> tuple[Tensor, Tensor]:
        counts["asked"] += 1
        until = time.process_time() + (0.002 if is_first() else 0.01)
        while time.process_time() < until:
            pass
        return case.task.batch_at(step)

    def loss(network: nn.Module, batch: Any) -> tuple[Tensor, int]:
        drawn.append(float(torch.rand(1)))
        return of_line(network, batch)

    task = Task(batch_at=batch_at, validate=validate, loss=loss)
    settings = replace(SETTINGS, max_steps=None, cpu_budget_s=0.4, num_validations=4, patience=9)
    first = TrainingLoop(case.network, task, settings, folder / "work", on_checkpoint=save).run()
    again_at = counts["asked"]
    longer = replace(settings, cpu_budget_s=0.6)
    resumed = TrainingLoop(line().network, task, longer, folder / "work", on_checkpoint=save).run()
    left = {
        **counts,
        "steps": [first.steps, resumed.steps],
        "cpu_seconds": [first.cpu_seconds, resumed.cpu_seconds],
        "asked_again": counts["asked"] - again_at,
        "drawn": drawn[:2],
    }
    (folder / "left.json").write_text(json.dumps(left))


def whole_flow(folder: Path) -> None:
    """Trains both stages of a flow, with noise, and writes its checkpoint folder."""
    data = squares(100)
    changes = {
        "classifier_steps": 10,
        "num_scored": 20,
        "batch_size": 16,
        "validation_share": 0.2,
        "num_validations": 2,
        "precision": "float32",
    }
    settings = default_image_settings(
        "flow",
        network=TINY["flow"],
        max_steps=30,
        cpu_budget_s=None,
        device="cpu",
        num_workers=2,
        **changes,
    )
    metrics = train_image_model(
        data.images_BHWC,
        data.labels_B,
        LABEL_NAMES,
        folder / "flow",
        settings=settings,
        work_dir=folder / "work",
    )
    (folder / "left.json").write_text(json.dumps(metrics))


def surplus(folder: Path) -> None:
    """Computes the loss of a batch with fewer rows than ranks; the loss differs by rank."""

    def loss(network: nn.Module, x_BF: Tensor) -> tuple[Tensor, int]:
        (mean,) = mean_over_ranks([network(x_BF).sum() * (1 + distributed.get_rank())], len(x_BF))
        return mean, len(x_BF)

    network = nn.Linear(1, 1, bias=False)
    nn.init.ones_(network.weight)
    value, num_rows = SharedLoss(network, loss)(torch.ones(1, 1))
    (folder / "left.json").write_text(json.dumps({"loss": float(value), "num_rows": num_rows}))


def run_rank(rank: int, num_ranks: int, folder: Path) -> None:
    store = distributed.FileStore(str(folder / "store"), num_ranks)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=num_ranks)
    others = {"decisions": decisions, "whole flow": whole_flow, "surplus": surplus}
    for name in (*CASES, *others):
        of_rank = folder / f"{name} {rank}"
        of_rank.mkdir()
        if name in CASES:
            trained(name, of_rank)
        else:
            others[name](of_rank)
    distributed.destroy_process_group()
