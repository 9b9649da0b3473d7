"""The training loop of every model: AdamW, warm-up and cosine, clipping, EMA, early stopping,
resume.

Does not know what it trains: batches and losses come from a `Task`. The random state of a step is
seeded by the step's number, so a resumed training is exactly the same as an uninterrupted one if
the budget is counted in steps. With several processes (`data_parallel`), all ranks run the loop and
validate, stop and resume at the same steps.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from aigc_models.checkpoint import CheckpointError, read_tensors, write_tensors
from aigc_models.device import autocast
from aigc_models.tracing import TRACE_SUFFIX, tracing
from aigc_models.training.data_parallel import (
    all_reduce_sum,
    broadcast_file,
    compute_on_first,
    is_first,
)
from aigc_models.training.settings import LoopSettings, TrainingProgress
from aigc_models.training.step import Task, build_step

STATE = "training.safetensors"
STEPS_BEFORE_TRACE = 20
"""The first steps allocate memory and compile, so they are not typical."""
STEPS_PER_REPORT = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopResult:
    steps: int
    val_loss: float
    cpu_seconds: float
    wall_seconds: float
    tokens_per_s: float


@dataclass(slots=True)
class Counters:
    """Saved and resumed beside the tensors."""

    step: int = 0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    num_tokens: int = 0
    num_validated: int = 0
    num_worse: int = 0
    best_loss: float = math.inf
    val_loss: float | None = None

    @property
    def tokens_per_s(self) -> float:
        return self.num_tokens / max(self.wall_seconds, 1e-9)


def learning_rate(settings: LoopSettings, step: int, fraction: float) -> float:
    """Linear warm-up over steps, then half a cosine over the budget (Loshchilov and Hutter
    2017)."""
    floor = settings.final_learning_rate_share
    cosine = floor + (1 - floor) * (1 + math.cos(math.pi * min(1.0, fraction))) / 2
    return settings.learning_rate * min(1.0, (step + 1) / max(1, settings.warmup_steps)) * cosine


class TrainingLoop:
    """Trains one network. `run` trains until the budget is spent or validation stops improving, and
    leaves the best weights in the network."""

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        settings: LoopSettings,
        work_dir: Path,
        on_progress: Callable[[TrainingProgress], None] | None = None,
        on_checkpoint: Callable[[Path], None] | None = None,
    ) -> None:
        self._network = network
        self._task = task
        self._settings = settings
        self._work_dir = work_dir
        self._on_progress = on_progress
        self._on_checkpoint = on_checkpoint
        self._device = next(network.parameters()).device
        self._step = build_step(network, task, settings)
        self.counters = Counters()
        self._average = {name: p.detach().clone() for name, p in network.named_parameters()}
        self._best = {name: weight.clone() for name, weight in self._average.items()}

    def run(self) -> LoopResult:
        self._work_dir.mkdir(parents=True, exist_ok=True)
        broadcast_file(self._work_dir / STATE)
        if (self._work_dir / STATE).exists():
            self._resume()
        event_dir = self._work_dir / "tensorboard"
        with SummaryWriter(event_dir, purge_step=self.counters.step) as writer:
            self._run_steps(writer)
        self._set_weights(self._best)
        counters = self.counters
        return LoopResult(
            steps=counters.step,
            val_loss=counters.best_loss,
            cpu_seconds=counters.cpu_seconds,
            wall_seconds=counters.wall_seconds,
            tokens_per_s=counters.tokens_per_s,
        )

    def train_step(self, fraction: float) -> dict[str, Tensor]:
        """Trains one step, with the learning rate at this fraction of the budget."""
        settings = self._settings
        step = self.counters.step
        torch.manual_seed(settings.seed * 1_000_003 + step)
        self._network.train()
        for optimiser in self._step.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(settings, step, fraction)
        losses, num_tokens = self._step(self._task.batch_at(step))
        self.counters.step += 1
        self.counters.num_tokens += num_tokens
        self._update_average()
        return losses

    def _run_steps(self, writer: SummaryWriter) -> None:
        counters, settings = self.counters, self._settings
        clock = Clock(counters)
        saved_at = time.monotonic()
        trace_path = self._work_dir / "tensorboard" / f"steps{TRACE_SUFFIX}"
        num_traced = settings.trace_steps if is_first() else 0
        with tracing(trace_path, skip=STEPS_BEFORE_TRACE, record=num_traced) as mark_step:
            while self._fraction() < 1.0 and counters.num_worse < settings.patience:
                fraction = self._fraction()
                losses = self.train_step(fraction)
                mark_step()
                clock.advance()
                if self._fraction() * settings.num_validations >= counters.num_validated + 1:
                    self._validate(writer)
                    clock.advance()
                self._report(writer, losses, fraction)
                if time.monotonic() - saved_at >= settings.checkpoint_every_s:
                    self._save()
                    saved_at = time.monotonic()
        if counters.num_validated == 0:
            self._validate(writer)
        self._save()

    def _fraction(self) -> float:
        """The share of the budget that is spent."""
        settings, counters = self._settings, self.counters
        of_steps = counters.step / settings.max_steps if settings.max_steps else 0.0
        of_time = counters.cpu_seconds / settings.cpu_budget_s if settings.cpu_budget_s else 0.0
        return max(of_steps, of_time)

    @torch.no_grad()
    def _update_average(self) -> None:
        step = self.counters.step
        decay = 0.0
        if self._settings.ema_decay > 0:
            # Early weights are far from good ones, so the first averages are over few steps.
            decay = min(self._settings.ema_decay, (1 + step) / (10 + step))
        weights = [p.detach() for _, p in self._network.named_parameters()]
        torch._foreach_lerp_(list(self._average.values()), weights, 1 - decay)

    def _validate(self, writer: SummaryWriter) -> None:
        """Validates the averaged weights, and keeps them if they are the best so far."""
        counters = self.counters
        current = {name: p.detach().clone() for name, p in self._network.named_parameters()}
        self._set_weights(self._average)
        self._network.eval()
        with torch.no_grad(), autocast(self._settings.precision, self._device):
            val_loss = compute_on_first(lambda: self._task.validate(self._network))
            self._write_samples(writer)
        self._set_weights(current)
        counters.val_loss = val_loss
        counters.num_validated += 1
        if val_loss < counters.best_loss:
            counters.best_loss = val_loss
            counters.num_worse = 0
            self._best = {name: weight.clone() for name, weight in self._average.items()}
        else:
            counters.num_worse += 1

    def _write_samples(self, writer: SummaryWriter) -> None:
        is_due = self.counters.num_validated % self._settings.samples_every == 0
        if is_first() and self._task.samples and is_due:
            writer.add_image("samples", self._task.samples(self._network), self.counters.step)

    @torch.no_grad()
    def _set_weights(self, weights: dict[str, Tensor]) -> None:
        for name, parameter in self._network.named_parameters():
            parameter.copy_(weights[name])

    def _report(self, writer: SummaryWriter, losses: dict[str, Tensor], fraction: float) -> None:
        counters = self.counters
        if counters.step % STEPS_PER_REPORT or not is_first():
            return
        loss_values = {name: float(loss) for name, loss in losses.items()}
        progress = TrainingProgress(
            step=counters.step,
            loss=next(iter(loss_values.values())),
            val_loss=counters.val_loss,
            tokens_per_s=counters.tokens_per_s,
            elapsed_s=counters.wall_seconds,
            fraction=min(1.0, fraction),
        )
        for name, loss in loss_values.items():
            writer.add_scalar(f"loss/{name}", loss, counters.step)
        rate = self._step.optimisers[0].param_groups[0]["lr"]
        writer.add_scalar("learning_rate", rate, counters.step)
        writer.add_scalar("tokens_per_s", progress.tokens_per_s, counters.step)
        if counters.val_loss is not None:
            writer.add_scalar("loss/validation", counters.val_loss, counters.step)
        if self._on_progress:
            self._on_progress(progress)

    def _save(self) -> None:
        """Writes all state that a resumed training needs into one file, on the first rank only."""
        if not is_first():
            return
        tensors: dict[str, Tensor] = {}
        for name, parameter in self._network.named_parameters():
            tensors[f"weight.{name}"] = parameter
            tensors[f"average.{name}"] = self._average[name]
            tensors[f"best.{name}"] = self._best[name]
            for optimiser in self._step.optimisers:
                for moment, value in optimiser.state.get(parameter, {}).items():
                    tensors[f"optimiser.{moment}.{name}"] = value
        for name, buffer in self._network.named_buffers():
            tensors[f"buffer.{name}"] = buffer
        counters = {name: getattr(self.counters, name) for name in Counters.__slots__}
        write_tensors(self._work_dir / STATE, tensors, {"counters": json.dumps(counters)})
        if self._on_checkpoint:
            self._on_checkpoint(self._work_dir / STATE)

    def _resume(self) -> None:
        path = self._work_dir / STATE
        tensors, metadata = read_tensors(path)
        for name, parameter in self._network.named_parameters():
            weight = tensors.get(f"weight.{name}")
            if weight is None or weight.shape != parameter.shape:
                raise CheckpointError(f"{path}: the state of another model; empty the folder")
        self.counters = Counters(**json.loads(metadata["counters"]))
        for name, buffer in self._network.named_buffers():
            buffer.copy_(tensors.get(f"buffer.{name}", buffer))
        for name, parameter in self._network.named_parameters():
            parameter.data.copy_(tensors[f"weight.{name}"])
            self._average[name].copy_(tensors[f"average.{name}"])
            self._best[name].copy_(tensors[f"best.{name}"])
            if f"optimiser.step.{name}" in tensors:
                self._optimiser_of(parameter).state[parameter] = {
                    moment: tensors[f"optimiser.{moment}.{name}"].to(self._device)
                    for moment in ("step", "exp_avg", "exp_avg_sq")
                }

    def _optimiser_of(self, parameter: nn.Parameter) -> torch.optim.Optimizer:
        for optimiser in self._step.optimisers:
            for group in optimiser.param_groups:
                if any(parameter is p for p in group["params"]):
                    return optimiser
        raise AssertionError("a parameter with saved moments has no optimiser")


class Clock:
    """Adds the CPU time of all ranks and the wall time of this one to the counters."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._cpu_s = time.process_time()
        self._wall_s = time.monotonic()

    def advance(self) -> None:
        """Adds the time since the last call."""
        cpu_s, wall_s = time.process_time(), time.monotonic()
        self._counters.cpu_seconds += all_reduce_sum(cpu_s - self._cpu_s)[0]
        self._counters.wall_seconds += wall_s - self._wall_s
        self._cpu_s, self._wall_s = cpu_s, wall_s
