"""Fixtures that every kind of test may use."""

import signal
from contextlib import suppress
from pathlib import Path

import pytest

# A shell's `&` has SIGINT ignored, and so would be the Ctrl-C that tests send to the commands they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPO_ROOT = Path(__file__).resolve().parents[1]
ENDED_WITHIN_S = 60


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where processes share the files, those whose tests may take longest are handed out first: all
    end together."""
    if not hasattr(config, "workerinput"):
        return
    bounds_s: dict[Path, float] = {}
    for item in items:
        mark = item.get_closest_marker("timeout")
        bounds_s[item.path] = max(bounds_s.get(item.path, 0), mark.args[0] if mark else 0)
    items.sort(key=lambda item: -bounds_s[item.path])


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """After Ctrl-C, waits for the processes that share the files: xdist gives them too little time
    to end servers."""
    shared = session.config.pluginmanager.getplugin("dsession")
    if shared is None or exitstatus != pytest.ExitCode.INTERRUPTED:
        return
    ending = set(shared._active_nodes)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.alarm(ENDED_WITHIN_S)
    with suppress(KeyboardInterrupt):  # the time is over, or Ctrl-C came again
        while ending & shared._active_nodes:
            shared.loop_once()
    signal.alarm(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data sets that may lie beside a checkout; tests that use them skip where they are
    absent."""
    folder = REPO_ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data sets do not lie beside this checkout")
    return folder
