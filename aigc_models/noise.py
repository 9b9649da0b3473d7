"""Random numbers from a counter-based hash: the same row, candidate and step give the same number
in every batch.

The hash is that of `seeds`, on tensors.
"""

import torch
from torch import Tensor

from aigc_models.seeds import FACTORS, GOLDEN_GAMMA, signed


def shift_right(values: Tensor, bits: int) -> Tensor:
    return (values >> bits) & ((1 << (64 - bits)) - 1)


def mix_tensor(values: Tensor) -> Tensor:
    """`mix` on int64 tensors, whose products wrap around."""
    values = values + signed(GOLDEN_GAMMA)
    values = (values ^ shift_right(values, 30)) * signed(FACTORS[0])
    values = (values ^ shift_right(values, 27)) * signed(FACTORS[1])
    return values ^ shift_right(values, 31)


def derive_seeds(seeds: Tensor, counters: Tensor | int) -> Tensor:
    """`derive_seed` on int64 tensors."""
    return mix_tensor(mix_tensor(seeds) + counters)


def uniforms(seeds: Tensor, counter: int) -> Tensor:
    """One float64 in [0, 1) per int64 seed, different for each counter."""
    return shift_right(derive_seeds(seeds, counter), 11).to(torch.float64) * 2.0**-53


def normals(seeds_B: Tensor, width: int) -> Tensor:
    """`width` float32 standard normal numbers per int64 seed, by inversion of the distribution
    function."""
    counters_W = torch.arange(width, device=seeds_B.device)
    uniform_BW = (
        shift_right(derive_seeds(seeds_B[:, None], counters_W), 11).to(torch.float64) * 2.0**-53
    )
    return torch.special.ndtri(uniform_BW.clamp_min(2.0**-53)).float()
