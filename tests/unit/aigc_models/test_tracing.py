import gzip
import json
from pathlib import Path

import torch

from aigc_models.tracing import TRACE_SUFFIX, tracing
from aigc_models.training.loop import TrainingLoop
from aigc_models.training.settings import LoopSettings
from tests.unit.aigc_models.training.test_loop import TASK, network


def names(path: Path) -> list[str]:
    with gzip.open(path) as file:
        return [event.get("name", "") for event in json.load(file)["traceEvents"]]


def multiply(path: Path, *, skip: int, record: int, steps: int) -> None:
    with tracing(path, skip=skip, record=record) as mark_step:
        for _ in range(steps):
            torch.ones(4, 4) @ torch.ones(4, 4)
            mark_step()


def test_only_the_requested_steps_are_traced(tmp_path: Path) -> None:
    path = tmp_path / f"a{TRACE_SUFFIX}"
    multiply(path, skip=3, record=2, steps=9)
    assert names(path).count("aten::matmul") == 2
    assert sum(name.startswith("ProfilerStep") for name in names(path)) == 2


def test_a_training_with_fewer_steps_than_requested_is_traced(tmp_path: Path) -> None:
    path = tmp_path / f"a{TRACE_SUFFIX}"
    multiply(path, skip=0, record=5, steps=2)
    assert names(path).count("aten::matmul") == 2


def test_no_trace_is_written_if_no_step_was_requested_or_run(tmp_path: Path) -> None:
    multiply(tmp_path / "a", skip=0, record=0, steps=3)
    multiply(tmp_path / "b", skip=5, record=2, steps=3)
    assert list(tmp_path.iterdir()) == []


def test_a_training_leaves_its_trace_beside_the_event_files(tmp_path: Path) -> None:
    settings = LoopSettings(max_steps=40, cpu_budget_s=None, trace_steps=3)
    TrainingLoop(network(), TASK, settings, tmp_path).run()
    (path,) = (tmp_path / "tensorboard").glob(f"*{TRACE_SUFFIX}")
    assert sum(name.startswith("ProfilerStep") for name in names(path)) == 3
    assert "aten::linear" in names(path)
