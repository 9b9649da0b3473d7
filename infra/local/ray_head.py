"""A Ray head node on this machine.

Ray listens on all interfaces, so its token authentication is always on.
"""

import hashlib
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from infra.local.ports import is_open
from infra.local.supervised import ProcessSpec, log_path

NAME = "ray"
PORTS = ("ray", "ray_client", "ray_agent")
_STARTED = "Ray runtime started"
_OBJECT_STORE_BYTES = 512 << 20
_LONGEST_SOCKET_FOLDER = 40
"""A Unix socket's path has at most about 100 characters; Ray needs about 60 below its folder."""


def ray_spec(*, stack_dir: Path, ports: Mapping[str, int], env: Mapping[str, str]) -> ProcessSpec:
    """The head node; `env` has RAY_AUTH_MODE and RAY_AUTH_TOKEN_PATH. Removes an earlier node's
    files."""
    temp_dir = ray_temp_dir(stack_dir)
    shutil.rmtree(temp_dir, ignore_errors=True)
    return ProcessSpec(
        name=NAME,
        argv=[
            str(Path(sys.executable).parent / "ray"),
            "start",
            "--head",
            "--block",
            f"--port={ports['ray']}",
            f"--ray-client-server-port={ports['ray_client']}",
            f"--dashboard-agent-listen-port={ports['ray_agent']}",
            # By default Ray reserves 10002 to 19999 for workers, and does not start if one of its
            # own ports is in that range.
            "--min-worker-port=0",
            "--max-worker-port=0",
            f"--num-cpus={num_cpus()}",
            f"--object-store-memory={_OBJECT_STORE_BYTES}",
            f"--temp-dir={temp_dir}",
            "--include-dashboard=false",
            "--disable-usage-stats",
        ],
        env={
            **env,
            # Renamed processes keep their environment readable, so that orphans can be found.
            "SPT_NOENV": "1",
            # There is no second node to drain to: do not wait for it when stopping.
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        },
        is_ready=lambda: _STARTED in _read(log_path(stack_dir, NAME)) and is_open(ports["ray"]),
        ready_timeout_s=90.0,
        stop_timeout_s=20.0,
    )


def num_cpus() -> int:
    """One more than the usable cores: actors that hold all cores leave one for the driver's
    tasks."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) + 1
    return (os.cpu_count() or 1) + 1


def ensure_token(path: Path) -> Path:
    """The file with the cluster's token, readable by its owner only; created once."""
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
    return path


def ray_temp_dir(stack_dir: Path) -> Path:
    """Ray's folder: in the stack if that path is short enough for sockets, else a temporary one."""
    inside = stack_dir.resolve() / "ray"
    if len(str(inside)) <= _LONGEST_SOCKET_FOLDER:
        return inside
    digest = hashlib.sha256(str(inside).encode()).hexdigest()[:10]
    return Path(tempfile.gettempdir()) / f"nightshift-{digest}"


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
