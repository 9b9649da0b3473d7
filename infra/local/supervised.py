"""One long-running process: start it, find it again later, stop it with all its descendants.

Knows nothing about the programs of the stack. A process is identified by its id and start time, so
that a reused id is never mistaken for it. Its descendants carry a mark in their environment, so
that the orphans of a killed process are found too.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.errors import ServiceError

MARK = "NIGHTSHIFT_STACK_PROCESS"
_POLL_S = 0.1
_SAME_START_S = 1.0
_LOG_TAIL_LINES = 15
# Background commands of a shell ignore SIGINT, and children inherit that. Prefect's worker stops by
# sending SIGINT to itself, and would never stop.
_LAUNCHER = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """What to run, and how to check that it is ready."""

    name: str
    argv: Sequence[str]
    """The first item is a path; PATH is not searched."""
    env: Mapping[str, str]
    """The whole environment of the process; the mark is added."""
    is_ready: Callable[[], bool]
    """Called every tenth of a second; never raises."""
    ready_timeout_s: float = 60.0
    stop_timeout_s: float = 10.0
    """Seconds between SIGTERM and SIGKILL."""


def start(spec: ProcessSpec, folder: Path) -> psutil.Process:
    """Starts the process in a new session and waits until it is ready.

    Output goes to `folder/logs/NAME.log`; the previous log is kept as `NAME.log.1`. Raises
    ServiceError with the last lines of the log if the process ends or is not ready in time, and
    stops what is left of it.
    """
    log_file = log_path(folder, spec.name)
    child = _launch(spec, folder, log_file)
    process = psutil.Process(child.pid)
    _write_record(folder, spec.name, process)
    deadline = time.monotonic() + spec.ready_timeout_s
    while True:
        status = child.poll()
        if status is not None:
            stop(spec.name, folder, timeout_s=0)
            failure = f"ended with status {status} while starting"
            raise ServiceError(f"{spec.name} {failure}\n{_log_tail(log_file)}")
        if spec.is_ready():
            return process
        if time.monotonic() > deadline:
            stop(spec.name, folder, timeout_s=spec.stop_timeout_s)
            failure = f"was not ready after {spec.ready_timeout_s:.0f} s"
            raise ServiceError(f"{spec.name} {failure}\n{_log_tail(log_file)}")
        time.sleep(_POLL_S)


def _launch(spec: ProcessSpec, folder: Path, log_file: Path) -> "subprocess.Popen[bytes]":
    log_file.parent.mkdir(parents=True, exist_ok=True)
    if log_file.exists():
        log_file.replace(log_file.with_name(f"{log_file.name}.1"))
    with log_file.open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-c", _LAUNCHER, *spec.argv],
            env={**spec.env, MARK: _mark(folder, spec.name)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def find(name: str, folder: Path) -> psutil.Process | None:
    """The process that was started under `name`, if it is still alive."""
    try:
        record = json.loads(_record_path(folder, name).read_text())
        process = psutil.Process(record["pid"])
        is_same = abs(process.create_time() - record["started"]) < _SAME_START_S
        return process if is_same and is_alive(process) else None
    except (FileNotFoundError, ValueError, KeyError, psutil.Error):
        return None


def has_leftovers(name: str, folder: Path) -> bool:
    """Whether a process has ended and left its record or descendants behind."""
    if find(name, folder) is not None:
        return False
    return _record_path(folder, name).exists() or bool(_family(name, folder))


def stop(name: str, folder: Path, *, timeout_s: float) -> bool:
    """Sends SIGTERM to the process, and after `timeout_s` SIGKILL to it and its descendants.

    Returns True if anything was running; raises ServiceError if something survives SIGKILL.
    """
    leader = find(name, folder)
    family = _family(name, folder)
    if leader is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            leader.send_signal(signal.SIGTERM)
        _wait([leader], timeout_s)
    survivors = {
        process.pid: process for process in [*family, *_family(name, folder)] if is_alive(process)
    }
    for process in survivors.values():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    still_alive = _wait(list(survivors.values()), 10.0)
    if still_alive:
        pids = [process.pid for process in still_alive]
        raise ServiceError(f"{name}: the processes {pids} survive SIGKILL")
    _record_path(folder, name).unlink(missing_ok=True)
    return leader is not None or bool(family)


def is_alive(process: psutil.Process) -> bool:
    """Whether the process still runs something; False for a zombie with a single thread.

    A zombie with more threads is still ending: it holds its memory and its ports.
    """
    try:
        return process.is_running() and (
            process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1
        )
    except psutil.NoSuchProcess:
        return False


def log_path(folder: Path, name: str) -> Path:
    """The file for the output of the process."""
    return folder / "logs" / f"{name}.log"


def _family(name: str, folder: Path) -> list[psutil.Process]:
    """The process, its descendants, and orphans with its mark."""
    leader = find(name, folder)
    members: dict[int, psutil.Process] = {}
    if leader is not None:
        members[leader.pid] = leader
        with contextlib.suppress(psutil.NoSuchProcess):
            members.update((child.pid, child) for child in leader.children(recursive=True))
    mark = _mark(folder, name)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark:
                members[process.pid] = process
    members.pop(os.getpid(), None)
    return [process for process in members.values() if is_alive(process)]


def _wait(processes: list[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Waits until the processes have ended; returns those that have not."""
    deadline = time.monotonic() + timeout_s
    alive = [process for process in processes if is_alive(process)]
    while alive and time.monotonic() < deadline:
        psutil.wait_procs(alive, timeout=_POLL_S)
        alive = [process for process in alive if is_alive(process)]
    return alive


def _mark(folder: Path, name: str) -> str:
    return f"{folder.resolve()}:{name}"


def _record_path(folder: Path, name: str) -> Path:
    return folder / "pids" / f"{name}.json"


def _write_record(folder: Path, name: str, process: psutil.Process) -> None:
    path = _record_path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"pid": process.pid, "started": process.create_time()}))


def _log_tail(log_file: Path) -> str:
    lines = log_file.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
    return "\n".join([f"last lines of {log_file}:", *(f"  {line}" for line in lines)])
