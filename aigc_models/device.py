"""Devices: where a network runs, in which precision, and how its memory is released.

No other module asks whether there is a GPU.
"""

import logging
from typing import Literal

import torch
from torch import Tensor

log = logging.getLogger("nightshift.device")


def resolve_device(device: str) -> torch.device:
    """Resolves a device name; "auto" is CUDA if available, otherwise the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def granted_device(num_gpus: float) -> torch.device:
    """The device for a process that was granted `num_gpus` GPUs, or a fraction of one.

    Logs a warning if torch cannot use them.
    """
    if num_gpus and not torch.cuda.is_available():
        log.warning(
            "%g GPUs were granted, but torch %s sees none; computing on the CPU",
            num_gpus,
            torch.__version__,
        )
    return resolve_device("auto" if num_gpus else "cpu")


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Copies a tensor to a device; a copy to a GPU does not block."""
    if torch.device(device).type == "cuda" and not tensor.is_cuda:
        # Only copies from pinned memory are asynchronous.
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def autocast(
    precision: Literal["auto", "float32", "bfloat16"], device: torch.device
) -> torch.autocast:
    """Casts to bfloat16 if `precision` asks for it and the device supports it.

    "auto" means bfloat16 on CUDA only, since it slowed down models of this size on CPUs.
    """
    is_cuda = device.type == "cuda"
    # CUDA devices older than Ampere emulate bfloat16, which is slower than float32.
    is_supported = not is_cuda or torch.cuda.is_bf16_supported(including_emulation=False)
    is_wanted = precision == "bfloat16" or (precision == "auto" and is_cuda)
    enabled = is_supported and is_wanted
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def release_memory() -> None:
    """Returns cached memory to the GPU, after an allocation failed."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
