"""Checks everything a run needs, and says what is wrong and what to do. Writes one probe object."""

import json
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

from infra.errors import NightshiftError
from infra.local.environment import STORAGE_URI, recorded_variables
from infra.local.prefect_server import online_workers, scheduled_starts, server_version
from infra.local.prefect_worker import WORK_POOL
from infra.settings import Settings, child_environment, prefect_api_url
from infra.storage import open_storage

NIGHTLY = "nightly"
"""The deployment whose schedule is checked."""
_UP = "start the local stack with `nightshift up`"
_RAY_TIMEOUT_S = 45.0
_GIB = 1 << 30
_LEAST_DISK_BYTES = 2 * _GIB
_AMPLE_DISK_BYTES = 10 * _GIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    name: str
    state: Literal["ok", "warning", "failed"]
    found: str
    remedy: str = ""
    """What to do; empty if the check passed."""


def diagnose(settings: Settings) -> list[Check]:
    """All checks, in the order in which a run needs them. Takes seconds, most of them for Ray."""
    return [
        _check_settings(settings),
        _check_storage(settings),
        _check_ray(settings),
        *_check_prefect(),
        _check_disk(settings),
        _check_device(),
    ]


def _check_settings(settings: Settings) -> Check:
    if not settings.storage_uri:
        return Check(
            name="settings",
            state="failed",
            found="no storage is set",
            remedy=f"{_UP}, or set NIGHTSHIFT_STORAGE_URI",
        )
    stack_key = recorded_variables(settings.stack_dir).get("AWS_ACCESS_KEY_ID")
    uses_stack = settings.storage_uri == STORAGE_URI and stack_key is not None
    if uses_stack and child_environment().get("AWS_ACCESS_KEY_ID") != stack_key:
        return Check(
            name="settings",
            state="warning",
            found="AWS_ACCESS_KEY_ID of this shell overrides the local stack's",
            remedy="unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN",
        )
    return Check(name="settings", state="ok", found=f"storage {settings.storage_uri}")


def _check_storage(settings: Settings) -> Check:
    try:
        abilities = open_storage(settings).probe()
    except NightshiftError as exc:
        return Check(
            name="storage",
            state="failed",
            found=str(exc),
            remedy=f"correct the setting that it names, or {_UP}",
        )
    if not abilities.conditional_put:
        return Check(
            name="storage",
            state="warning",
            found="the store ignores conditional writes",
            remedy="never run the same date of a job twice at once, or use a store that has them",
        )
    return Check(
        name="storage", state="ok", found="reads, writes, and refuses stale conditional writes"
    )


def _check_ray(settings: Settings) -> Check:
    address = settings.ray_address
    if not address:
        return Check(
            name="ray",
            state="failed",
            found="no address is set",
            remedy=f"{_UP}, or set NIGHTSHIFT_RAY_ADDRESS",
        )
    if not _accepts(address):
        return Check(name="ray", state="failed", found=f"nothing listens at {address}", remedy=_UP)
    command = [sys.executable, "-m", "infra.local.ray_probe", address]
    try:
        probe = subprocess.run(
            command,
            env=child_environment(),
            capture_output=True,
            text=True,
            timeout=_RAY_TIMEOUT_S,
            check=True,
        )
    except subprocess.CalledProcessError as exc:
        return _explain_ray(address, f"{exc.stdout}{exc.stderr}")
    except subprocess.TimeoutExpired:
        return _explain_ray(address, f"no answer within {_RAY_TIMEOUT_S:.0f} s")
    resources = json.loads(probe.stdout.splitlines()[-1])
    found = f"{address}: {resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs"
    return Check(name="ray", state="ok", found=found)


def _explain_ray(address: str, output: str) -> Check:
    """Why the probe failed. Ray reports a refused token as a failed connection: no type, only its
    output."""
    variables = child_environment()
    if variables.get("RAY_AUTH_MODE") != "token":
        remedy = "set RAY_AUTH_MODE=token: the cluster probably requires a token"
    elif re.search(r"auth|token", output, re.IGNORECASE):
        place = variables.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")
        where = "RAY_AUTH_TOKEN" if "RAY_AUTH_TOKEN" in variables else place
        remedy = f"the token was refused: {where} must hold the token of this cluster's head node"
    else:
        remedy = (
            "read the log of the head node; restart a local stack with `nightshift down` and "
            "`nightshift up`"
        )
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return Check(
        name="ray",
        state="failed",
        found=f"{address}: {lines[-1] if lines else 'no answer'}",
        remedy=remedy,
    )


def _accepts(address: str) -> bool:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=3.0).close()
    except (OSError, ValueError):
        return False
    return True


def _check_prefect() -> list[Check]:
    url = prefect_api_url()
    if not url:
        return [
            Check(
                name="prefect",
                state="failed",
                found="no address is set",
                remedy=f"{_UP}, or set PREFECT_API_URL",
            )
        ]
    try:
        server, workers = server_version(url), online_workers(url, WORK_POOL)
        nights = scheduled_starts(url, NIGHTLY)
    except (OSError, ValueError) as exc:
        return [Check(name="prefect", state="failed", found=f"{url}: {exc}", remedy=_UP)]
    client = version("prefect")
    is_old = _release(server) < _release(client)
    remedy = (
        f"upgrade the server to {client} or later: it must not be older than its clients"
        if is_old
        else ""
    )
    return [
        Check(
            name="prefect",
            state="failed" if is_old else "ok",
            found=f"{url}: server {server}",
            remedy=remedy,
        ),
        _check_worker(len(workers)),
        _check_schedule(nights),
    ]


def _check_worker(num_online: int) -> Check:
    if num_online == 0:
        return Check(
            name="prefect worker",
            state="warning",
            found=f"no worker of the pool {WORK_POOL} is online: scheduled runs will wait",
            remedy=f"{_UP}, or `prefect worker start --pool {WORK_POOL}`",
        )
    return Check(
        name="prefect worker", state="ok", found=f"{num_online} online in the pool {WORK_POOL}"
    )


def _check_schedule(nights: list[str] | None) -> Check:
    """Detects a failed scheduler: such a server answers every request but starts no night."""
    if nights is None:
        remedy = f"{_UP}, or `prefect deploy --all`; nothing, if you deactivated it in the UI"
        found = f"no deployment {NIGHTLY} has an active schedule"
        return Check(name="schedule", state="warning", found=found, remedy=remedy)
    if not nights:
        return Check(
            name="schedule",
            state="warning",
            found=f"the Prefect server has not scheduled a run of {NIGHTLY}",
            remedy=(
                "check again in a minute; then look for errors of schedule_deployments in the "
                "server's log"
            ),
        )
    return Check(
        name="schedule",
        state="ok",
        found=f"{NIGHTLY} starts next at {nights[0][:16].replace('T', ' ')} UTC",
    )


def _release(text: str) -> tuple[int, ...]:
    """The first three numbers of a version: `3.8.8rc1` gives 3, 8, 8."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


def _check_disk(settings: Settings) -> Check:
    folder = settings.stack_dir.resolve()
    place = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(place).free
    state: Literal["ok", "warning", "failed"] = "ok"
    if free < _AMPLE_DISK_BYTES:
        state = "warning" if free >= _LEAST_DISK_BYTES else "failed"
    remedy = "" if state == "ok" else f"free space on the file system of {place}"
    return Check(
        name="disk", state=state, found=f"{free / _GIB:.1f} GiB free at {place}", remedy=remedy
    )


def _check_device() -> Check:
    import torch  # noqa: PLC0415  takes seconds to import, and nothing else here needs it

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return Check(name="device", state="ok", found=f"CUDA: {names}")
    return Check(name="device", state="ok", found=f"CPU, torch {torch.__version__}")
