import pytest
from torch import nn

from aigc_models.training.settings import LoopSettings
from aigc_models.training.step import Task, build_optimiser, build_step
from tests.unit.aigc_models.training.test_loop import batch_at, network, validate

SETTINGS = LoopSettings(max_steps=40, cpu_budget_s=None, device="cpu")


def test_norms_and_biases_do_not_decay() -> None:
    matrices, vectors = build_optimiser(network(), SETTINGS).param_groups
    assert matrices["weight_decay"] > 0
    assert vectors["weight_decay"] == 0
    assert all(parameter.dim() == 1 for parameter in vectors["params"])


def test_a_task_without_loss_and_step_is_refused() -> None:
    with pytest.raises(ValueError, match="a loss or a step"):
        build_step(nn.Linear(4, 1), Task(batch_at=batch_at, validate=validate), SETTINGS)
