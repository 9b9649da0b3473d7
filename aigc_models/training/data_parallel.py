"""One training in several processes: each computes the loss of its share of every batch, gradients
are averaged.

Where torch.distributed has a process group, all its ranks train one network; elsewhere there is one
rank, and nothing is sent. A step gives the gradients of one process with the whole batch, but for
noise, of which every rank has its own. Knows nothing of who starts the processes.
"""

import warnings
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from aigc_models.seeds import derive_seed

Loss = Callable[[nn.Module, Any], tuple[Tensor, int]]
_counts = ContextVar("_counts", default=True)
"""Whether this rank's rows of the step at hand count, as `share_of` tells."""


def world_size() -> int:
    return (
        distributed.get_world_size()
        if distributed.is_available() and distributed.is_initialized()
        else 1
    )


def rank() -> int:
    return distributed.get_rank() if world_size() > 1 else 0


def is_first() -> bool:
    """Whether this rank is the one that validates, tells, saves and finishes."""
    return rank() == 0


def sums(*values: float) -> list[float]:
    """Each value summed over the ranks, the same on all of them."""
    if world_size() == 1:
        return list(values)
    sums_V = torch.tensor(values, dtype=torch.float64)
    distributed.all_reduce(sums_V)
    return sums_V.tolist()


def from_first(compute: Callable[[], float]) -> float:
    """What `compute` gives on the first rank, on all of them; the others do not call it."""
    return sums(compute() if is_first() else 0.0)[0]


def share_file(path: Path) -> None:
    """Makes a file what it is on the first rank, or absent."""
    if world_size() == 1:
        return
    content = [path.read_bytes() if is_first() and path.exists() else None]
    distributed.broadcast_object_list(content)
    if not is_first():
        path.unlink(missing_ok=True)
        if content[0] is not None:
            path.write_bytes(content[0])


def as_of_all_rows(means: list[Tensor], num_rows: int) -> list[Tensor]:
    """Means over this rank's rows, with the values of those over all ranks' rows and gradients of
    their own.

    For losses that are no mean over rows, such as the logarithm of one. In a step all ranks must
    call it; without gradients it changes nothing, so that one rank can validate alone.
    """
    if world_size() == 1 or not torch.is_grad_enabled():
        return means
    num_rows = num_rows if _counts.get() else 0
    total, *summed = sums(num_rows, *(num_rows * float(mean.detach()) for mean in means))
    return [_with_value(mean, value / total) for mean, value in zip(means, summed, strict=True)]


def _with_value(own: Tensor, value: float) -> Tensor:
    """Has the value, and the gradient of `own`."""
    return own + (value - own).detach()


def share_of(batch: Any) -> tuple[Any, bool]:
    """This rank's rows of a batch of tensors, every so many-th one, so that all ranks have long and
    short ones; and whether they count: where there are fewer rows than ranks, the last ranks have
    one that does not."""
    if rank() < _num_rows(batch):
        return _rows(batch, slice(rank(), None, world_size())), True
    return _rows(batch, slice(0, 1)), False


def _num_rows(batch: Any) -> int:
    while not isinstance(batch, Tensor):
        batch = getattr(batch, fields(batch)[0].name) if is_dataclass(batch) else batch[0]
    return len(batch)


def _rows(batch: Any, rows: slice) -> Any:
    if isinstance(batch, Tensor):
        return batch[rows]
    if is_dataclass(batch) and not isinstance(batch, type):
        return replace(
            batch,
            **{field.name: _rows(getattr(batch, field.name), rows) for field in fields(batch)},
        )
    return tuple(_rows(part, rows) for part in batch)


class _LossModule(nn.Module):
    """A loss as what DistributedDataParallel wraps: whatever of the network it calls, its gradients
    are averaged."""

    def __init__(self, network: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.network, self.loss = network, loss

    def forward(self, batch: Any) -> tuple[Tensor, int]:
        return self.loss(self.network, batch)


class SharedLoss:
    """The mean loss of whole batches and their token counts, where every rank computes a share."""

    def __init__(self, network: nn.Module, loss: Loss) -> None:
        # torch 2.13 has another name for it, which 2.8 does not know
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            self.module = DistributedDataParallel(
                _LossModule(network, loss), broadcast_buffers=False
            )

    def __call__(self, batch: Any) -> tuple[Tensor, int]:
        part, counts = share_of(batch)
        _counts.set(counts)
        torch.manual_seed(derive_seed(torch.initial_seed(), rank()))
        loss, num_tokens = self.module(part)
        num_tokens = num_tokens if counts else 0
        total, summed = sums(num_tokens, num_tokens * float(loss.detach()))
        # Gradients are averaged over ranks: a mean over tokens weighs as much as the rank has of them.
        return _with_value(loss * (num_tokens * world_size() / total), summed / total), int(total)
