"""Recognises the out-of-memory errors of torch, numpy, Arrow and the system."""

import sys

# torch raises a plain RuntimeError when host memory runs out: only its text tells.
ALLOCATION_FAILURES = ("can't allocate memory", "alloc_failed", "bad_alloc")
"""Parts of such texts, in lower case."""


def is_out_of_memory(exc: Exception) -> bool:
    """Whether the GPU or the host ran out of memory: the machine's state, not the input's fault."""
    # Whoever raised or unpickled torch's errors has imported it; drivers do without.
    torch = sys.modules.get("torch")
    if isinstance(exc, MemoryError) or (torch and isinstance(exc, torch.OutOfMemoryError)):
        return True
    text = str(exc).lower()
    return isinstance(exc, RuntimeError) and any(part in text for part in ALLOCATION_FAILURES)
