"""Random numbers from a counter-based hash: the same row, candidate and step give the same number in every batch.

The mixer is splitmix64's (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014).
"""

import torch
from torch import Tensor

GOLDEN_GAMMA = 0x9E3779B97F4A7C15
FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
MASK = (1 << 64) - 1


def signed(value: int) -> int:
    """The int64 with the low 64 bits of `value`."""
    value &= MASK
    return value - (1 << 64) if value >> 63 else value


def mix(value: int) -> int:
    """splitmix64's finaliser on Python integers; the reference for `mix_tensor`."""
    value = (value + GOLDEN_GAMMA) & MASK
    value = ((value ^ (value >> 30)) * FACTORS[0]) & MASK
    value = ((value ^ (value >> 27)) * FACTORS[1]) & MASK
    return value ^ (value >> 31)


def derive_seed(seed: int, counter: int) -> int:
    """An int64 seed of its own for each counter below a seed."""
    return signed(mix(mix(seed) + counter))


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
    """`width` float32 standard normal numbers per int64 seed, by inversion of the distribution function."""
    counters_W = torch.arange(width, device=seeds_B.device)
    uniform_BW = shift_right(derive_seeds(seeds_B[:, None], counters_W), 11).to(torch.float64) * 2.0**-53
    return torch.special.ndtri(uniform_BW.clamp_min(2.0**-53)).float()
