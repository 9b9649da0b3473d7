"""Data-parallel training: each process computes the loss of its share of every batch, and
gradients are averaged.

If torch.distributed has a process group, all its ranks train one network; otherwise there is one
rank, which communicates with nobody. A step has the same gradients as one process would have for
the whole batch, except for random noise, which differs by rank. Does not know how the processes
are started.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from aigc_models.seeds import derive_seed

Loss = Callable[[nn.Module, Any], tuple[Tensor, int]]
_computes_filler = ContextVar("_computes_filler", default=False)
"""Whether the loss that this rank computes is that of a filler row; see `Share`."""


def world_size() -> int:
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    return 1


def rank() -> int:
    return distributed.get_rank() if world_size() > 1 else 0


def is_first() -> bool:
    """Whether this is the rank that validates, reports, saves and finishes."""
    return rank() == 0


def all_reduce_sum(*values: float) -> list[float]:
    """Sums each value over the ranks; every rank gets the same sums."""
    if world_size() == 1:
        return list(values)
    sums_V = torch.tensor(values, dtype=torch.float64)
    distributed.all_reduce(sums_V)
    return sums_V.tolist()


def compute_on_first(compute: Callable[[], float]) -> float:
    """Calls `compute` on the first rank only and returns its result on all ranks."""
    value = compute() if is_first() else 0.0
    return all_reduce_sum(value)[0]


def broadcast_file(path: Path) -> None:
    """Makes a file the same as on the first rank; deletes it if the first rank has none."""
    if world_size() == 1:
        return
    content = [path.read_bytes() if is_first() and path.exists() else None]
    distributed.broadcast_object_list(content)
    if not is_first():
        path.unlink(missing_ok=True)
        if content[0] is not None:
            path.write_bytes(content[0])


def mean_over_ranks(means: list[Tensor], num_rows: int) -> list[Tensor]:
    """Replaces the values of means over this rank's `num_rows` by means over the rows of all ranks.

    Gradients stay those of this rank's means. Losses that are not a mean over rows, such as the
    logarithm of a mean, need this. All ranks must call it in a step. Without gradients it changes
    nothing, so that one rank can validate alone.
    """
    if world_size() == 1 or not torch.is_grad_enabled():
        return means
    num_rows = 0 if _computes_filler.get() else num_rows
    total, *summed = all_reduce_sum(num_rows, *(num_rows * float(m.detach()) for m in means))
    return [_replace_value(mean, value / total) for mean, value in zip(means, summed, strict=True)]


def _replace_value(tensor: Tensor, value: float) -> Tensor:
    """A tensor of this value with the gradient of `tensor`."""
    return tensor + (value - tensor).detach()


@dataclass(frozen=True, slots=True)
class Share:
    """One rank's rows of a batch."""

    rows: Any
    is_filler: bool
    """The batch has fewer rows than there are ranks, and this rank got none. All ranks must compute
    a loss, so it gets the first row, with a weight of 0."""


def take_share(batch: Any) -> Share:
    """This rank's rows of a batch of tensors.

    Takes every n-th row for n ranks, because rows are sorted by length.
    """
    if rank() < _count_rows(batch):
        return Share(_select_rows(batch, slice(rank(), None, world_size())), is_filler=False)
    return Share(_select_rows(batch, slice(0, 1)), is_filler=True)


def _count_rows(batch: Any) -> int:
    while not isinstance(batch, Tensor):
        batch = getattr(batch, fields(batch)[0].name) if is_dataclass(batch) else batch[0]
    return len(batch)


def _select_rows(batch: Any, rows: slice) -> Any:
    if isinstance(batch, Tensor):
        return batch[rows]
    if is_dataclass(batch) and not isinstance(batch, type):
        parts = {
            field.name: _select_rows(getattr(batch, field.name), rows) for field in fields(batch)
        }
        return replace(batch, **parts)
    return tuple(_select_rows(part, rows) for part in batch)


class _LossModule(nn.Module):
    """A loss as a module, so that DistributedDataParallel averages gradients whatever parts of the
    network the loss calls."""

    def __init__(self, network: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.network = network
        self.loss = loss

    def forward(self, batch: Any) -> tuple[Tensor, int]:
        return self.loss(self.network, batch)


class SharedLoss:
    """The mean loss and token count of whole batches, of which every rank computes a share."""

    def __init__(self, network: nn.Module, loss: Loss) -> None:
        # torch 2.13 deprecates this name for one that 2.8 does not have.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            self.module = DistributedDataParallel(
                _LossModule(network, loss), broadcast_buffers=False
            )

    def __call__(self, batch: Any) -> tuple[Tensor, int]:
        share = take_share(batch)
        _use_noise_of_rank()
        with _computing_filler(share.is_filler):
            loss, num_tokens = self.module(share.rows)
        num_tokens = 0 if share.is_filler else num_tokens
        total_tokens, total_loss = all_reduce_sum(num_tokens, num_tokens * float(loss.detach()))
        # DistributedDataParallel averages gradients over ranks with equal weights, but the mean
        # over all tokens weights each rank by its share of the tokens.
        weighted_loss = loss * (num_tokens * world_size() / total_tokens)
        return _replace_value(weighted_loss, total_loss / total_tokens), int(total_tokens)


def _use_noise_of_rank() -> None:
    """Seeds torch by rank; otherwise all ranks would draw the same noise for different rows."""
    torch.manual_seed(derive_seed(torch.initial_seed(), rank()))


@contextmanager
def _computing_filler(is_filler: bool) -> Iterator[None]:
    token = _computes_filler.set(is_filler)
    try:
        yield
    finally:
        _computes_filler.reset(token)
