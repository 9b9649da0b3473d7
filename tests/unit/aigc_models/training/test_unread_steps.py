"""Training steps must not read values back: on a GPU, a read waits for all earlier computation."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from aigc_models.training.step import build_step
from tests.unit.aigc_models.step_cases import COMPILED, RECURRENT, case

READING = {
    "_local_scalar_dense",
    "is_nonzero",
    "equal",
    "nonzero",
    "masked_select",
    "_unique2",
    "item",
}


class Unread(TorchDispatchMode):
    """Refuses operations that wait for a GPU: values read by Python, and shapes that depend on
    values."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = function.overloadpacket.__name__
        indices = (
            args[1] if name in ("index", "index_put", "index_put_", "_index_put_impl_") else ()
        )
        is_mask = any(index is not None and index.dtype == torch.bool for index in indices)
        assert name not in READING, f"{name} reads"
        assert not is_mask, f"{name} by a mask reads its number of values"
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", [*COMPILED, *RECURRENT])
def test_a_step_reads_nothing_back(name: str) -> None:
    found = case(name)
    step = build_step(found.network.train(), found.task, found.settings)
    step(found.task.batch_at(0))  # creates the optimiser's moments
    batch = found.task.batch_at(1)
    with Unread():
        losses, num = step(batch)
    assert num > 0
    assert all(isinstance(loss, Tensor) and torch.isfinite(loss) for loss in losses.values())


def test_operations_that_read_are_found() -> None:
    with Unread(), pytest.raises(AssertionError, match="reads"):
        float(torch.ones(()))
    with Unread(), pytest.raises(AssertionError, match="by a mask"):
        torch.ones(3)[torch.ones(3) > 0]
