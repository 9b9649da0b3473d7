"""The training loop of every model here: AdamW, warm-up and cosine, clipping, EMA, early stopping,
resume.

Knows nothing of what is trained: batches and losses come from the caller, or whole steps where
there are several losses and optimisers. The noise of a step is seeded by the step, so
a resumed training repeats an uninterrupted one exactly where the budget is counted in steps. Where
there are several processes (`data_parallel`), all of them run the loop, and what ends, validates or
goes on is the same on all ranks.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from aigc_models.checkpoint import CheckpointError, read_tensors, write_tensors
from aigc_models.device import autocast
from aigc_models.tracing import TRACE_SUFFIX, tracing
from aigc_models.training.data_parallel import (
    SharedLoss,
    from_first,
    is_first,
    share_file,
    sums,
    world_size,
)
from aigc_models.training.settings import LoopSettings, TrainingProgress

STATE = "training.safetensors"
STEPS_BEFORE_TRACE = 20
"""The first steps allocate and compile: they say little of the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopResult:
    steps: int
    val_loss: float
    cpu_seconds: float
    wall_seconds: float
    tokens_per_s: float


@dataclass(slots=True)
class Counters:
    """What is resumed beside tensors."""

    step: int = 0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    num_tokens: int = 0
    num_validated: int = 0
    num_worse: int = 0
    best_loss: float = math.inf
    val_loss: float | None = None


class Step(Protocol):
    """One step of training, for networks that one loss and one optimiser are not enough for."""

    @property
    def optimisers(self) -> Sequence[torch.optim.Optimizer]:
        """Of which each parameter has one at most. The loop sets their rates and keeps their
        moments."""
        ...

    def __call__(self, batch: Any) -> tuple[dict[str, Tensor], int]:
        """Losses by name, the first for the progress, and the token count. Reads nothing back from
        the device: while a GPU computes a step, the next ones are prepared."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is trained. `batch_at` gives the batch of any step, always the same; `loss` the mean and
    the token count, or `step` does it all."""

    batch_at: Callable[[int], Any]
    validate: Callable[[nn.Module], float]
    loss: Callable[[nn.Module, Any], tuple[Tensor, int]] | None = None
    step: Callable[[Any], Step] | None = None
    """Made once, from the network."""
    samples: Callable[[nn.Module], Tensor] | None = None
    """A picture [C, H, W] in uint8 of what the validated weights make."""


def build_optimiser(network: nn.Module, settings: LoopSettings) -> torch.optim.AdamW:
    matrices = [p for p in network.parameters() if p.dim() > 1]
    vectors = [p for p in network.parameters() if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, fused=True)


def descend(loss: Tensor, optimiser: torch.optim.Optimizer, max_gradient_norm: float) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(
        [p for group in optimiser.param_groups for p in group["params"]], max_gradient_norm
    )
    optimiser.step()


class GradientStep:
    """One loss, one optimiser."""

    def __init__(
        self,
        network: nn.Module,
        loss: Callable[[nn.Module, Any], tuple[Tensor, int]],
        settings: LoopSettings,
    ) -> None:
        self.settings = settings
        self.loss = partial(loss, network) if world_size() == 1 else SharedLoss(network, loss)
        self.device = next(network.parameters()).device
        self.optimisers = (build_optimiser(network, settings),)

    def __call__(self, batch: Any) -> tuple[dict[str, Tensor], int]:
        with autocast(self.settings.precision, self.device):
            loss, num_tokens = self.loss(batch)
        descend(loss, self.optimisers[0], self.settings.max_gradient_norm)
        return {"train": loss.detach()}, num_tokens


def build_step(network: nn.Module, task: Task, settings: LoopSettings) -> Step:
    if settings.torch_compile:
        network.compile()  # in place: what calls the network calls what was compiled
    if task.step:
        if world_size() > 1:
            raise ValueError("a task with a step of its own is trained by one process")
        return task.step(network)
    if task.loss is None:
        raise ValueError("a task must have a loss or a step of its own")
    return GradientStep(network, task.loss, settings)


def learning_rate(settings: LoopSettings, step: int, fraction: float) -> float:
    """Linear warm-up over steps, then half a cosine over the budget (Loshchilov and Hutter
    2017)."""
    floor = settings.final_learning_rate_share
    cosine = floor + (1 - floor) * (1 + math.cos(math.pi * min(1.0, fraction))) / 2
    return settings.learning_rate * min(1.0, (step + 1) / max(1, settings.warmup_steps)) * cosine


class TrainingLoop:
    """One training of one network. `run` trains to the end of the budget and leaves the best
    weights in the network."""

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        settings: LoopSettings,
        work_dir: Path,
        on_progress: Callable[[TrainingProgress], None] | None = None,
        on_checkpoint: Callable[[Path], None] | None = None,
    ) -> None:
        self.network, self.task, self.settings, self.work_dir = network, task, settings, work_dir
        self.on_progress, self.on_checkpoint = on_progress, on_checkpoint
        self.device = next(network.parameters()).device
        self.step = build_step(network, task, settings)
        self.counters = Counters()
        self.average = {name: p.detach().clone() for name, p in network.named_parameters()}
        self.best = {name: weight.clone() for name, weight in self.average.items()}

    def run(self) -> LoopResult:
        self.work_dir.mkdir(parents=True, exist_ok=True)
        share_file(self.work_dir / STATE)
        if (self.work_dir / STATE).exists():
            self.resume()
        with SummaryWriter(self.work_dir / "tensorboard", purge_step=self.counters.step) as writer:
            self.run_steps(writer)
        self.set_weights(self.best)
        counters = self.counters
        return LoopResult(
            steps=counters.step,
            val_loss=counters.best_loss,
            cpu_seconds=counters.cpu_seconds,
            wall_seconds=counters.wall_seconds,
            tokens_per_s=counters.num_tokens / max(counters.wall_seconds, 1e-9),
        )

    def run_steps(self, writer: SummaryWriter) -> None:
        counters, settings = self.counters, self.settings
        clock, saved_at = Clock(counters), time.monotonic()
        path = self.work_dir / "tensorboard" / f"steps{TRACE_SUFFIX}"
        with tracing(
            path, skip=STEPS_BEFORE_TRACE, record=settings.trace_steps if is_first() else 0
        ) as mark_step:
            while self.fraction() < 1.0 and counters.num_worse < settings.patience:
                fraction = self.fraction()
                losses = self.train_step(fraction)
                mark_step()
                clock.advance()
                if self.fraction() * settings.num_validations >= counters.num_validated + 1:
                    self.validate(writer)
                    clock.advance()
                self.report(writer, losses, fraction)
                if time.monotonic() - saved_at >= settings.checkpoint_every_s:
                    self.save()
                    saved_at = time.monotonic()
        if counters.num_validated == 0:
            self.validate(writer)
        self.save()

    def fraction(self) -> float:
        """How much of the budget is spent."""
        settings, counters = self.settings, self.counters
        of_steps = counters.step / settings.max_steps if settings.max_steps else 0.0
        of_time = counters.cpu_seconds / settings.cpu_budget_s if settings.cpu_budget_s else 0.0
        return max(of_steps, of_time)

    def train_step(self, fraction: float) -> dict[str, Tensor]:
        settings, step = self.settings, self.counters.step
        torch.manual_seed(settings.seed * 1_000_003 + step)
        self.network.train()
        for optimiser in self.step.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(settings, step, fraction)
        losses, num_tokens = self.step(self.task.batch_at(step))
        self.counters.step += 1
        self.counters.num_tokens += num_tokens
        self.update_average()
        return losses

    @torch.no_grad()
    def update_average(self) -> None:
        # Early weights are far from good ones: the average is short at first.
        decay = min(self.settings.ema_decay, (1 + self.counters.step) / (10 + self.counters.step))
        decay = decay if self.settings.ema_decay > 0 else 0.0
        weights = [p.detach() for _, p in self.network.named_parameters()]
        torch._foreach_lerp_(list(self.average.values()), weights, 1 - decay)

    def validate(self, writer: SummaryWriter) -> None:
        counters = self.counters
        current = {name: p.detach().clone() for name, p in self.network.named_parameters()}
        self.set_weights(self.average)
        self.network.eval()
        with torch.no_grad(), autocast(self.settings.precision, self.device):
            counters.val_loss = from_first(lambda: self.task.validate(self.network))
            if (
                is_first()
                and self.task.samples
                and counters.num_validated % self.settings.samples_every == 0
            ):
                writer.add_image("samples", self.task.samples(self.network), counters.step)
        self.set_weights(current)
        counters.num_validated += 1
        if counters.val_loss < counters.best_loss:
            counters.best_loss, counters.num_worse = counters.val_loss, 0
            self.best = {name: weight.clone() for name, weight in self.average.items()}
        else:
            counters.num_worse += 1

    @torch.no_grad()
    def set_weights(self, weights: dict[str, Tensor]) -> None:
        for name, parameter in self.network.named_parameters():
            parameter.copy_(weights[name])

    def report(self, writer: SummaryWriter, losses: dict[str, Tensor], fraction: float) -> None:
        counters = self.counters
        if counters.step % 10 or not is_first():
            return
        read = {name: float(loss) for name, loss in losses.items()}
        progress = TrainingProgress(
            step=counters.step,
            loss=next(iter(read.values())),
            val_loss=counters.val_loss,
            tokens_per_s=counters.num_tokens / max(counters.wall_seconds, 1e-9),
            elapsed_s=counters.wall_seconds,
            fraction=min(1.0, fraction),
        )
        for name, loss in read.items():
            writer.add_scalar(f"loss/{name}", loss, counters.step)
        writer.add_scalar(
            "learning_rate", self.step.optimisers[0].param_groups[0]["lr"], counters.step
        )
        writer.add_scalar("tokens_per_s", progress.tokens_per_s, counters.step)
        if counters.val_loss is not None:
            writer.add_scalar("loss/validation", counters.val_loss, counters.step)
        if self.on_progress:
            self.on_progress(progress)

    def save(self) -> None:
        """Everything that training goes on from, in one file that is replaced at once. Of several
        ranks, only the first one has it."""
        if not is_first():
            return
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.network.named_parameters():
            tensors |= {
                f"weight.{name}": parameter,
                f"average.{name}": self.average[name],
                f"best.{name}": self.best[name],
            }
            for optimiser in self.step.optimisers:
                for moment, value in optimiser.state.get(parameter, {}).items():
                    tensors[f"optimiser.{moment}.{name}"] = value
        tensors |= {f"buffer.{name}": buffer for name, buffer in self.network.named_buffers()}
        counters = {name: getattr(self.counters, name) for name in Counters.__slots__}
        write_tensors(self.work_dir / STATE, tensors, {"counters": json.dumps(counters)})
        if self.on_checkpoint:
            self.on_checkpoint(self.work_dir / STATE)

    def resume(self) -> None:
        tensors, metadata = read_tensors(self.work_dir / STATE)
        if any(
            f"weight.{name}" not in tensors or tensors[f"weight.{name}"].shape != p.shape
            for name, p in self.network.named_parameters()
        ):
            raise CheckpointError(
                f"{self.work_dir / STATE}: this is the state of another model; empty the folder"
            )
        self.counters = Counters(**json.loads(metadata["counters"]))
        for name, buffer in self.network.named_buffers():
            buffer.copy_(tensors.get(f"buffer.{name}", buffer))
        for name, parameter in self.network.named_parameters():
            parameter.data.copy_(tensors[f"weight.{name}"])
            self.average[name].copy_(tensors[f"average.{name}"])
            self.best[name].copy_(tensors[f"best.{name}"])
            if f"optimiser.step.{name}" in tensors:
                self.optimiser_of(parameter).state[parameter] = {
                    moment: tensors[f"optimiser.{moment}.{name}"].to(self.device)
                    for moment in ("step", "exp_avg", "exp_avg_sq")
                }

    def optimiser_of(self, parameter: nn.Parameter) -> torch.optim.Optimizer:
        groups = (
            (optimiser, group)
            for optimiser in self.step.optimisers
            for group in optimiser.param_groups
        )
        return next(
            optimiser for optimiser, group in groups if any(parameter is p for p in group["params"])
        )


class Clock:
    """Adds the CPU time of all ranks and this one's wall time since the last call to the
    counters."""

    def __init__(self, counters: Counters) -> None:
        self.counters, self.cpu, self.wall = counters, time.process_time(), time.monotonic()

    def advance(self) -> None:
        cpu, wall = time.process_time(), time.monotonic()
        self.counters.cpu_seconds += sums(cpu - self.cpu)[0]
        self.counters.wall_seconds += wall - self.wall
        self.cpu, self.wall = cpu, wall
