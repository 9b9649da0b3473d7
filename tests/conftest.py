"""Fixtures that every kind of test may use."""

import signal
from pathlib import Path

import pytest

# A shell's `&` has SIGINT ignored, and so would be the Ctrl-C that tests send to the commands they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPO_ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data sets that may lie beside a checkout; tests that use them skip where they are absent."""
    folder = REPO_ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data sets do not lie beside this checkout")
    return folder
