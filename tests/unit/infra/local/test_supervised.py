"""Supervised processes, with real small child processes."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.errors import ServiceError
from infra.local import supervised
from infra.local.ports import is_free
from infra.local.supervised import ProcessSpec

SLEEPER = "import time\nprint('ready', flush=True)\ntime.sleep(600)"
STUBBORN = f"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{SLEEPER}"
PARENT = f"""
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", {SLEEPER!r}], stdout=subprocess.DEVNULL).pid)
{SLEEPER}
"""

LISTENING_THREAD = """
import ctypes, socket, threading, time
listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=time.sleep, args=(600,)).start()
print(listener.getsockname()[1], "ready", flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""
"""Its main thread has ended, as in a process that was killed a moment ago."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    supervised.stop("child", tmp_path, timeout_s=0)


def spec(
    folder: Path, code: str, *, word: str = "ready", ready_timeout_s: float = 30.0
) -> ProcessSpec:
    log = supervised.log_path(folder, "child")
    return ProcessSpec(
        name="child",
        argv=[sys.executable, "-c", code],
        env=dict(os.environ),
        is_ready=lambda: word in log.read_text(),
        ready_timeout_s=ready_timeout_s,
        stop_timeout_s=5.0,
    )


def record(folder: Path) -> Path:
    return folder / "pids" / "child.json"


def test_a_started_process_is_found_and_stopped(folder: Path) -> None:
    process = supervised.start(spec(folder, SLEEPER), folder)
    assert supervised.find("child", folder) == process
    assert supervised.stop("child", folder, timeout_s=5.0)
    assert supervised.find("child", folder) is None
    assert not supervised.has_leftovers("child", folder)


def test_stopping_twice_is_harmless(folder: Path) -> None:
    supervised.start(spec(folder, SLEEPER), folder)
    assert supervised.stop("child", folder, timeout_s=5.0)
    assert not supervised.stop("child", folder, timeout_s=5.0)


def test_a_process_that_ignores_sigterm_is_killed(folder: Path) -> None:
    process = supervised.start(spec(folder, STUBBORN), folder)
    assert supervised.stop("child", folder, timeout_s=0.3)
    assert not supervised.is_alive(process)


def test_a_process_that_dies_at_start_is_reported_with_the_end_of_its_log(folder: Path) -> None:
    with pytest.raises(ServiceError, match=r"(?s)status 3.*the disk is on fire"):
        supervised.start(
            spec(folder, "print('the disk is on fire', flush=True)\nraise SystemExit(3)"), folder
        )
    assert not supervised.has_leftovers("child", folder)


def test_a_process_that_is_never_ready_is_reported_and_stopped(folder: Path) -> None:
    with pytest.raises(ServiceError, match="not ready after"):
        supervised.start(spec(folder, SLEEPER, word="never printed", ready_timeout_s=0.5), folder)
    assert supervised.find("child", folder) is None


def test_a_recycled_process_id_is_neither_found_nor_killed(folder: Path) -> None:
    bystander = psutil.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        record(folder).parent.mkdir()
        record(folder).write_text(
            json.dumps({"pid": bystander.pid, "started": bystander.create_time() - 100})
        )
        assert supervised.find("child", folder) is None
        assert supervised.has_leftovers("child", folder)
        assert not supervised.stop("child", folder, timeout_s=0)
        assert bystander.is_running()
        assert not supervised.has_leftovers("child", folder)
    finally:
        bystander.kill()
        bystander.wait()


def test_orphans_of_a_killed_process_are_found_and_stopped(folder: Path) -> None:
    process = supervised.start(spec(folder, PARENT), folder)
    orphan = psutil.Process(int(supervised.log_path(folder, "child").read_text().split()[0]))
    process.kill()
    psutil.wait_procs([process], timeout=5)
    assert supervised.find("child", folder) is None
    assert supervised.has_leftovers("child", folder)
    assert supervised.stop("child", folder, timeout_s=0)
    assert not supervised.is_alive(orphan)


def test_stop_also_stops_the_descendants(folder: Path) -> None:
    supervised.start(spec(folder, PARENT), folder)
    grandchild = psutil.Process(int(supervised.log_path(folder, "child").read_text().split()[0]))
    supervised.stop("child", folder, timeout_s=5.0)
    assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows such a process as a zombie")
def test_a_zombie_with_a_thread_that_holds_a_port_is_alive_until_it_is_stopped(
    folder: Path,
) -> None:
    process = supervised.start(spec(folder, LISTENING_THREAD), folder)
    port = int(supervised.log_path(folder, "child").read_text().split()[0])
    while process.status() != psutil.STATUS_ZOMBIE:  # the main thread is about to end
        time.sleep(0.01)
    assert supervised.find("child", folder) == process
    assert not is_free(port)
    assert supervised.stop("child", folder, timeout_s=0)
    assert is_free(port)


def test_a_process_of_another_folder_is_left_alone(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    process = supervised.start(spec(folder, SLEEPER), folder)
    assert not supervised.stop("child", tmp_path_factory.mktemp("other"), timeout_s=0)
    assert process.is_running()


def test_a_damaged_record_counts_as_a_leftover(folder: Path) -> None:
    record(folder).parent.mkdir()
    record(folder).write_text("{")
    assert supervised.find("child", folder) is None
    assert supervised.has_leftovers("child", folder)


def test_the_previous_log_is_kept_beside_the_current_one(folder: Path) -> None:
    for _ in range(2):
        supervised.start(spec(folder, SLEEPER), folder)
        supervised.stop("child", folder, timeout_s=5.0)
    assert (folder / "logs" / "child.log.1").read_text() == "ready\n"


def test_an_ignored_sigint_is_not_inherited(folder: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        is_default = "signal.getsignal(signal.SIGINT) is signal.default_int_handler"
        code = f"import signal\nprint({is_default})\n{SLEEPER}"
        supervised.start(spec(folder, code), folder)
    finally:
        signal.signal(signal.SIGINT, before)
    assert supervised.log_path(folder, "child").read_text().split()[0] == "True"
