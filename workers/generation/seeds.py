"""Row seeds: each row's randomness comes from its own id, so no other row, batch or worker can
change it."""

import hashlib
from collections.abc import Iterable


def row_seed(run_seed: int, row_id: str) -> int:
    """A seed in [0, 2⁶³): the first 63 bits of BLAKE2b over the run seed and the row's id."""
    digest = hashlib.blake2b(f"{run_seed}\x1f{row_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def attempt_seed(run_seed: int, attempt: int) -> int:
    """What takes the run seed's place when a row is tried for the `attempt`-th time, from 1: a new
    draw each time."""
    return run_seed if attempt == 1 else row_seed(run_seed, f"attempt {attempt}")


def row_seeds(run_seed: int, row_ids: Iterable[str]) -> list[int]:
    return [row_seed(run_seed, row_id) for row_id in row_ids]
