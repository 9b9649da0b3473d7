"""Devices: where a network is, in which precision it computes there, and how memory is given back. Nothing else asks
whether there is a GPU."""

import logging
from typing import Literal

import torch

log = logging.getLogger("nightshift.device")


def resolve_device(device: str) -> torch.device:
    """auto: CUDA where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def granted_device(num_gpus: float) -> torch.device:
    """Where whoever was given so many GPUs, or a share of one, computes. Warns where torch cannot use them."""
    if num_gpus and not torch.cuda.is_available():
        log.warning("%g GPUs were given, but torch %s sees none: it computes on the CPU", num_gpus, torch.__version__)
    return resolve_device("auto" if num_gpus else "cpu")


def autocast(precision: Literal["auto", "float32", "bfloat16"], device: torch.device) -> torch.autocast:
    """auto: bfloat16 on CUDA devices that have it; on CPUs it slowed models of this size down."""
    on_auto = device.type == "cuda" and torch.cuda.is_bf16_supported()
    enabled = precision == "bfloat16" or (precision == "auto" and on_auto)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def release_memory() -> None:
    """Gives what torch keeps for later back to the device, after something did not fit."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
