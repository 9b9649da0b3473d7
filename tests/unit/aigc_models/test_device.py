import logging
from typing import Any

import pytest
import torch

from aigc_models.device import autocast, granted_device, release_memory, resolve_device

CPU = torch.device("cpu")
without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")


def test_without_a_granted_gpu_the_device_is_the_cpu(caplog: pytest.LogCaptureFixture) -> None:
    assert granted_device(0) == CPU
    assert not caplog.records


@without_cuda
def test_gpus_that_torch_cannot_use_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert granted_device(0.5) == CPU
    assert "0.5 GPUs were granted, but torch" in caplog.text


@without_cuda
def test_without_cuda_auto_is_the_cpu_in_float32() -> None:
    assert resolve_device("auto") == CPU
    with autocast("auto", CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    release_memory()


def test_bfloat16_can_be_requested_by_name() -> None:
    with autocast("bfloat16", CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


@pytest.mark.parametrize("precision", ["auto", "bfloat16"])
def test_a_gpu_that_only_emulates_bfloat16_computes_in_float32(
    precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation
    )
    assert not autocast(precision, torch.device("cuda"))._enabled
