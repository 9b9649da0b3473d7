"""A Ray head node for this machine. Ray listens on every interface: its token authentication is
always on."""

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
"""Unix sockets allow about a hundred characters, of which Ray takes some sixty below its folder."""


def ray_spec(*, stack_dir: Path, ports: Mapping[str, int], env: Mapping[str, str]) -> ProcessSpec:
    """The head node; `env` holds RAY_AUTH_MODE and RAY_AUTH_TOKEN_PATH. What an earlier node left
    is removed."""
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
            # Ray otherwise reserves 10002 to 19999 for workers and refuses to start with any port of its own in there.
            "--min-worker-port=0",
            "--max-worker-port=0",
            f"--num-cpus={num_cpus()}",
            f"--object-store-memory={_OBJECT_STORE_BYTES}",
            f"--temp-dir={temp_dir}",
            "--include-dashboard=false",
            "--disable-usage-stats",
        ],
        # Processes that rename themselves keep their environment readable, and so can be found when orphaned. The only
        # node has none that could take over what it would otherwise wait for when it is stopped.
        env={**env, "SPT_NOENV": "1", "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"},
        is_ready=lambda: _STARTED in _read(log_path(stack_dir, NAME)) and is_open(ports["ray"]),
        ready_timeout_s=90.0,
        stop_timeout_s=20.0,
    )


def num_cpus() -> int:
    """One more than there are cores: actors that hold every core leave a share for what the driver
    runs."""
    usable = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return usable + 1


def ensure_token(path: Path) -> Path:
    """The file with the cluster's token, readable by its owner only; made once."""
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
    return path


def ray_temp_dir(stack_dir: Path) -> Path:
    """Ray's own folder: inside the stack where the path is short enough for sockets, else in the
    system's."""
    inside = stack_dir.resolve() / "ray"
    if len(str(inside)) <= _LONGEST_SOCKET_FOLDER:
        return inside
    digest = hashlib.sha256(str(inside).encode()).hexdigest()[:10]
    return Path(tempfile.gettempdir()) / f"nightshift-{digest}"


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
