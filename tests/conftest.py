"""Fixtures for all kinds of tests."""

import signal
from contextlib import suppress
from pathlib import Path

import pytest

# Commands that a shell starts with `&` ignore SIGINT; so would the commands that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPO_ROOT = Path(__file__).resolve().parents[1]
WORKERS_END_WITHIN_S = 60


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With xdist, starts the files with the longest timeouts first, so that all workers end
    together."""
    if not hasattr(config, "workerinput"):
        return
    timeouts_s: dict[Path, float] = {}
    for item in items:
        mark = item.get_closest_marker("timeout")
        timeout_s = mark.args[0] if mark else 0
        timeouts_s[item.path] = max(timeouts_s.get(item.path, 0), timeout_s)
    items.sort(key=lambda item: -timeouts_s[item.path])


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """After Ctrl-C, waits for xdist's workers: xdist gives them too little time to stop servers."""
    scheduler = session.config.pluginmanager.getplugin("dsession")
    if scheduler is None or exitstatus != pytest.ExitCode.INTERRUPTED:
        return
    ending = set(scheduler._active_nodes)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.alarm(WORKERS_END_WITHIN_S)
    with suppress(KeyboardInterrupt):  # by the alarm, or by another Ctrl-C
        while ending & scheduler._active_nodes:
            scheduler.loop_once()
    signal.alarm(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets beside the checkout; skips the test if it does not exist."""
    folder = REPO_ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("there are no real data sets beside this checkout")
    return folder
