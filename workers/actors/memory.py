"""Whether memory did not suffice, as torch, numpy and the system say it."""

import sys

ALLOCATION_FAILURES = ("can't allocate memory", "alloc_failed", "bad_alloc")
"""In lower case, what the plain RuntimeErrors say that torch raises when memory does not
suffice."""


def is_out_of_memory(exc: Exception) -> bool:
    """Whether memory did not suffice, on the GPU or on the host: the machine's state, no fault of
    the input."""
    torch = sys.modules.get("torch")  # imported by whoever raised its errors, or unpickled them
    if isinstance(exc, MemoryError) or (torch and isinstance(exc, torch.OutOfMemoryError)):
        return True
    return isinstance(exc, RuntimeError) and any(
        sign in str(exc).lower() for sign in ALLOCATION_FAILURES
    )
