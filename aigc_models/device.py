"""Devices: where a network is, in which precision it computes there, and how memory is given back.
Nothing else asks whether there is a GPU."""

import logging
from typing import Literal

import torch
from torch import Tensor

log = logging.getLogger("nightshift.device")


def resolve_device(device: str) -> torch.device:
    """auto: CUDA where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def granted_device(num_gpus: float) -> torch.device:
    """Where whoever was given so many GPUs, or a share of one, computes. Warns where torch cannot
    use them."""
    if num_gpus and not torch.cuda.is_available():
        log.warning(
            "%g GPUs were given, but torch %s sees none: it computes on the CPU",
            num_gpus,
            torch.__version__,
        )
    return resolve_device("auto" if num_gpus else "cpu")


def sent(tensor: Tensor, device: torch.device | str) -> Tensor:
    """The tensor on that device. To a GPU it goes from pinned memory, and nobody waits until it is
    there."""
    if torch.device(device).type == "cuda" and not tensor.is_cuda:
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def autocast(
    precision: Literal["auto", "float32", "bfloat16"], device: torch.device
) -> torch.autocast:
    """bfloat16 where the device has it. auto: on CUDA only; on CPUs it slowed models of this size
    down.

    CUDA devices older than Ampere only emulate it, which is slower than float32.
    """
    is_cuda = device.type == "cuda"
    has_it = not is_cuda or torch.cuda.is_bf16_supported(including_emulation=False)
    enabled = has_it and (precision == "bfloat16" or (precision == "auto" and is_cuda))
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def release_memory() -> None:
    """Gives what torch keeps for later back to the device, after something did not fit."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
