"""Derives seeds from seeds by a counter-based hash on Python integers.

Does not need torch; `noise` has the same hash on tensors. The mixer is splitmix64's (Steele, Lea
and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014).
"""

GOLDEN_GAMMA = 0x9E3779B97F4A7C15
FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
MASK = (1 << 64) - 1


def signed(value: int) -> int:
    """The int64 with the low 64 bits of `value`."""
    value &= MASK
    return value - (1 << 64) if value >> 63 else value


def mix(value: int) -> int:
    """splitmix64's finaliser on Python integers; the reference for `noise.mix_tensor`."""
    value = (value + GOLDEN_GAMMA) & MASK
    value = ((value ^ (value >> 30)) * FACTORS[0]) & MASK
    value = ((value ^ (value >> 27)) * FACTORS[1]) & MASK
    return value ^ (value >> 31)


def derive_seed(seed: int, counter: int) -> int:
    """Derives an int64 seed from a seed and a counter."""
    return signed(mix(mix(seed) + counter))
