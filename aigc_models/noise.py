"""Random numbers from a counter-based hash.

A row, candidate and step give the same number in every batch. The hash is that of `seeds`, computed
on tensors.

B batch, W width.
"""

import torch
from torch import Tensor

from aigc_models.seeds import FACTORS, GOLDEN_GAMMA, signed


def shift_right(values: Tensor, bits: int) -> Tensor:
    """Logical shift of int64 tensors, which fills up with zeros."""
    return (values >> bits) & ((1 << (64 - bits)) - 1)


def mix_tensor(values: Tensor) -> Tensor:
    """`seeds.mix` on int64 tensors, whose products wrap around."""
    values = values + signed(GOLDEN_GAMMA)
    values = (values ^ shift_right(values, 30)) * signed(FACTORS[0])
    values = (values ^ shift_right(values, 27)) * signed(FACTORS[1])
    return values ^ shift_right(values, 31)


def derive_seeds(seeds: Tensor, counters: Tensor | int) -> Tensor:
    """`seeds.derive_seed` on int64 tensors."""
    return mix_tensor(mix_tensor(seeds) + counters)


def uniforms(seeds: Tensor, counter: int) -> Tensor:
    """One float64 in [0, 1) per int64 seed, different for each counter."""
    return _to_unit_interval(derive_seeds(seeds, counter))


def normals(seeds_B: Tensor, width: int) -> Tensor:
    """Standard normal numbers [B, W] in float32, by inverting the distribution function."""
    counters_W = torch.arange(width, device=seeds_B.device)
    uniform_BW = _to_unit_interval(derive_seeds(seeds_B[:, None], counters_W))
    # The inverse of 0 would be minus infinity.
    return torch.special.ndtri(uniform_BW.clamp_min(2.0**-53)).float()


def _to_unit_interval(hashes: Tensor) -> Tensor:
    """The upper 53 bits of int64 hashes as float64 in [0, 1)."""
    return shift_right(hashes, 11).to(torch.float64) * 2.0**-53
