"""One training step: the loss, its gradients and the optimiser's update.

Most tasks have one loss and one optimiser. A task with several of them has its own `Step`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from aigc_models.device import autocast
from aigc_models.training.data_parallel import Loss, SharedLoss, world_size
from aigc_models.training.settings import LoopSettings


class Step(Protocol):
    @property
    def optimisers(self) -> Sequence[torch.optim.Optimizer]:
        """Each parameter belongs to at most one. The loop sets their learning rates and saves
        their moments."""
        ...

    def __call__(self, batch: Any) -> tuple[dict[str, Tensor], int]:
        """Returns losses by name and the token count; the first loss is reported as progress.

        Must not read values back from the device, so that a GPU computes while the CPU prepares the
        next batch.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is trained. Either `loss` or `step` is given."""

    batch_at: Callable[[int], Any]
    """Returns the batch of any step, always the same."""
    validate: Callable[[nn.Module], float]
    loss: Loss | None = None
    """Returns the mean loss and the token count."""
    step: Callable[[Any], Step] | None = None
    """Called once, with the network."""
    samples: Callable[[nn.Module], Tensor] | None = None
    """Returns a picture [C, H, W] in uint8 of samples from the validated weights."""


def build_step(network: nn.Module, task: Task, settings: LoopSettings) -> Step:
    if settings.torch_compile:
        network.compile()  # in place, so that all callers of the network use the compiled one
    if task.step:
        if world_size() > 1:
            raise ValueError("a task with its own step can only be trained by one process")
        return task.step(network)
    if task.loss is None:
        raise ValueError("a task must have a loss or a step")
    return GradientStep(network, task.loss, settings)


class GradientStep:
    """A step with one loss and one optimiser."""

    def __init__(self, network: nn.Module, loss: Loss, settings: LoopSettings) -> None:
        self.settings = settings
        self.loss = partial(loss, network) if world_size() == 1 else SharedLoss(network, loss)
        self.device = next(network.parameters()).device
        self.optimisers = (build_optimiser(network, settings),)

    def __call__(self, batch: Any) -> tuple[dict[str, Tensor], int]:
        with autocast(self.settings.precision, self.device):
            loss, num_tokens = self.loss(batch)
        descend(loss, self.optimisers[0], self.settings.max_gradient_norm)
        return {"train": loss.detach()}, num_tokens


def build_optimiser(network: nn.Module, settings: LoopSettings) -> torch.optim.AdamW:
    matrices = [p for p in network.parameters() if p.dim() > 1]
    vectors = [p for p in network.parameters() if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, fused=True)


def descend(loss: Tensor, optimiser: torch.optim.Optimizer, max_gradient_norm: float) -> None:
    """Updates the optimiser's parameters by the clipped gradient of the loss."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    nn.utils.clip_grad_norm_(parameters, max_gradient_norm)
    optimiser.step()
