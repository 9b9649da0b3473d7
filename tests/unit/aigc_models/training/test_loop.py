import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from aigc_models.checkpoint import CheckpointError
from aigc_models.training.loop import TrainingLoop, learning_rate
from aigc_models.training.settings import LoopSettings, TrainingProgress
from aigc_models.training.step import Task, descend

SETTINGS = LoopSettings(
    max_steps=40, cpu_budget_s=None, learning_rate=0.01, warmup_steps=5, device="cpu"
)


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1))


def batch_at(step: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
    return x, x.sum(1, keepdim=True)


def loss(network: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, int]:
    return (network(batch[0]) - batch[1]).square().mean(), len(batch[0])


def validate(network: nn.Module) -> float:
    with torch.no_grad():
        return float(loss(network, batch_at(10_000))[0])


TASK = Task(batch_at=batch_at, loss=loss, validate=validate)


class CrashError(Exception):
    pass


def crash_at(step: int) -> Callable[[TrainingProgress], None]:
    def on_progress(progress: TrainingProgress) -> None:
        if progress.step >= step:
            raise CrashError

    return on_progress


def trained(work_dir: Path, settings: LoopSettings, task: Task = TASK) -> dict[str, Tensor]:
    model = network()
    TrainingLoop(model, task, settings, work_dir).run()
    return model.state_dict()


def test_training_lowers_the_loss_and_reports_progress(tmp_path: Path) -> None:
    model, seen = network(), []
    before = validate(model.eval())
    result = TrainingLoop(
        model, TASK, replace(SETTINGS, max_steps=300), tmp_path, seen.append
    ).run()
    assert result.val_loss < before / 4
    assert result.steps == 300
    assert validate(model.eval()) == pytest.approx(result.val_loss)
    assert [progress.step for progress in seen] == list(range(10, 301, 10))
    assert all(first.fraction < second.fraction <= 1.0 for first, second in pairwise(seen))
    assert list((tmp_path / "tensorboard").iterdir())


def test_the_same_seed_gives_the_same_tensors_and_another_seed_others(tmp_path: Path) -> None:
    first = trained(tmp_path / "a", SETTINGS)
    second = trained(tmp_path / "b", SETTINGS)
    other = trained(tmp_path / "c", replace(SETTINGS, seed=1))
    assert all(first[name].equal(second[name]) for name in first)
    assert not all(first[name].equal(other[name]) for name in first)


def test_a_resumed_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    settings = replace(SETTINGS, checkpoint_every_s=1e-9)
    undisturbed = trained(tmp_path / "undisturbed", settings)
    crashing = TrainingLoop(network(), TASK, settings, tmp_path / "crashed", crash_at(20))
    with pytest.raises(CrashError):
        crashing.run()
    asked: list[int] = []

    def watched_batch(step: int) -> tuple[Tensor, Tensor]:
        asked.append(step)
        return batch_at(step)

    resumed = trained(tmp_path / "crashed", settings, replace(TASK, batch_at=watched_batch))
    assert asked == list(range(19, 40))
    assert all(undisturbed[name].equal(resumed[name]) for name in undisturbed)


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    first = trained(tmp_path, SETTINGS)

    def no_batch(step: int) -> tuple[Tensor, Tensor]:
        raise AssertionError(f"step {step} was trained again")

    again = trained(tmp_path, SETTINGS, replace(TASK, batch_at=no_batch))
    assert all(first[name].equal(again[name]) for name in first)


def test_the_state_of_another_model_is_refused(tmp_path: Path) -> None:
    trained(tmp_path, SETTINGS)
    with pytest.raises(CheckpointError, match="another model"):
        TrainingLoop(nn.Linear(4, 1), TASK, SETTINGS, tmp_path).run()


def test_training_stops_when_validation_gets_no_better(tmp_path: Path) -> None:
    losses = iter([1.0, 2.0, 3.0, 4.0, 5.0])
    task = replace(TASK, validate=lambda _: next(losses))
    settings = replace(SETTINGS, max_steps=100, num_validations=10, patience=2)
    result = TrainingLoop(network(), task, settings, tmp_path).run()
    assert result.steps == 30
    assert result.val_loss == 1.0


def test_a_cpu_budget_ends_training(tmp_path: Path) -> None:
    settings = replace(SETTINGS, max_steps=None, cpu_budget_s=0.2, patience=1000)
    result = TrainingLoop(network(), TASK, settings, tmp_path).run()
    assert 0.2 <= result.cpu_seconds < 2.0
    assert result.steps > 0


def test_the_callback_gets_the_state_once_it_is_written(tmp_path: Path) -> None:
    seen: list[Path] = []
    TrainingLoop(network(), TASK, SETTINGS, tmp_path, on_checkpoint=seen.append).run()
    assert seen == [tmp_path / "training.safetensors"]
    assert seen[0].is_file()


class TwoOptimisers:
    """The first layer learns from one loss, the last from another."""

    def __init__(self, network: nn.Sequential) -> None:
        self.network = network
        self.optimisers = [torch.optim.AdamW(network[i].parameters(), fused=True) for i in (0, 3)]

    def __call__(self, batch: tuple[Tensor, Tensor]) -> tuple[dict[str, Tensor], int]:
        first, num_tokens = loss(self.network, batch)
        descend(first, self.optimisers[0], 1.0)
        second = loss(self.network, batch)[0]
        descend(second, self.optimisers[1], 1.0)
        return {"first": first.detach(), "second": second.detach()}, num_tokens


def test_a_step_with_two_optimisers_learns_and_can_be_resumed(tmp_path: Path) -> None:
    task = Task(batch_at=batch_at, validate=validate, step=TwoOptimisers)
    settings = replace(SETTINGS, checkpoint_every_s=1e-9)
    undisturbed = trained(tmp_path / "undisturbed", settings, task)
    before = network().state_dict()
    assert all(not undisturbed[name].equal(before[name]) for name in before)
    with pytest.raises(CrashError):
        TrainingLoop(network(), task, settings, tmp_path / "crashed", crash_at(20)).run()
    resumed = trained(tmp_path / "crashed", settings, task)
    assert all(undisturbed[name].equal(resumed[name]) for name in undisturbed)


def test_the_learning_rate_warms_up_and_falls_along_a_cosine() -> None:
    settings = LoopSettings(learning_rate=1.0, warmup_steps=10, final_learning_rate_share=0.1)
    assert learning_rate(settings, 0, 0.0) == pytest.approx(0.1)
    assert learning_rate(settings, 9, 0.0) == pytest.approx(1.0)
    assert learning_rate(settings, 50, 0.5) == pytest.approx(
        0.1 + 0.9 * (1 + math.cos(math.pi / 2)) / 2
    )
    assert learning_rate(settings, 99, 1.0) == pytest.approx(0.1)
    assert learning_rate(replace(settings, warmup_steps=0), 0, 0.0) == 1.0
