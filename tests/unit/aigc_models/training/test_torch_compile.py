"""Compiled networks have graphs without breaks, and the same losses as uncompiled ones."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from aigc_models.recommenders.settings import default_recommender_settings
from aigc_models.text.settings import default_settings
from aigc_models.training.step import build_step
from tests.unit.aigc_models.step_cases import COMPILED, case

STEPS = 4


@pytest.fixture(autouse=True)
def reset_compiler() -> Iterator[None]:
    """Forgets what other tests have compiled."""
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


def losses(name: str, *, torch_compile: bool) -> list[float]:
    torch.manual_seed(0)
    found = case(name)
    settings = replace(found.settings, torch_compile=torch_compile)
    step = build_step(found.network.train(), found.task, settings)
    of_steps = []
    for number in range(STEPS):
        torch.manual_seed(number)
        of_steps += [float(loss) for loss in step(found.task.batch_at(number))[0].values()]
    return of_steps


@pytest.mark.parametrize("name", COMPILED)
def test_every_network_that_may_be_compiled_is_captured_whole(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Skips the compiler's last stage, which takes minutes for all networks and rounds
    differently."""
    uncompiled = losses(name, torch_compile=False)
    assert not counters["stats"]
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    assert losses(name, torch_compile=True) == uncompiled
    assert 1 <= counters["stats"]["unique_graphs"] <= 3
    assert not counters["graph_break"]


@pytest.mark.timeout(400)
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_compiled_blocks_learn_the_same_as_uncompiled_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    uncompiled = losses("recommender bert", torch_compile=False)
    assert losses("recommender bert", torch_compile=True) == pytest.approx(uncompiled, abs=1e-4)
    assert counters["stats"]["unique_graphs"] == 1
    assert list(tmp_path.rglob("*.so")), "compiled code"


@pytest.mark.parametrize("settings_of", [default_settings, default_recommender_settings])
def test_recurrent_networks_are_refused(settings_of) -> None:
    with pytest.raises(ValueError, match="torch_compile is for the famil"):
        settings_of("gru", torch_compile=True)
