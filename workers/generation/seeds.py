"""Row seeds: a row's randomness depends on its own id, never on other rows, batches or workers."""

import hashlib
from collections.abc import Iterable


def row_seed(run_seed: int, row_id: str) -> int:
    """A seed in [0, 2⁶³): the first 63 bits of BLAKE2b over the run seed and the row's id."""
    digest = hashlib.blake2b(f"{run_seed}\x1f{row_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def attempt_seed(run_seed: int, attempt: int) -> int:
    """The seed that replaces the run seed at a row's `attempt`-th attempt, counted from 1.

    Each attempt draws differently; the first one uses the run seed itself.
    """
    return run_seed if attempt == 1 else row_seed(run_seed, f"attempt {attempt}")


def row_seeds(run_seed: int, row_ids: Iterable[str]) -> list[int]:
    return [row_seed(run_seed, row_id) for row_id in row_ids]
