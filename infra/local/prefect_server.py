"""The Prefect server on SQLite, and the few API calls that the stack needs."""

import base64
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPException
from typing import Any

from infra.local.ports import LOOPBACK
from infra.local.supervised import ProcessSpec
from infra.settings import prefect_auth_string

NAME = "prefect-server"
_TIMEOUT_S = 3.0


def prefect_server_spec(*, port: int, env: Mapping[str, str]) -> ProcessSpec:
    """The server. Its database is in PREFECT_HOME of `env`; the first start creates it."""
    command = ("server", "start", "--host", LOOPBACK, "--port", str(port))
    return ProcessSpec(
        name=NAME,
        argv=[sys.executable, "-m", "infra.local.serve_prefect", *command],
        env=env,
        is_ready=lambda: is_healthy(api_url(port)),
        ready_timeout_s=120.0,
    )


def api_url(port: int) -> str:
    return f"http://{LOOPBACK}:{port}/api"


def is_healthy(url: str) -> bool:
    """Whether the API reports that it is healthy."""
    try:
        return ask(f"{url}/health") is True
    except (OSError, ValueError):
        return False


def server_version(url: str) -> str:
    """The server's version; raises OSError when it cannot be reached."""
    return str(ask(f"{url}/admin/version"))


def online_workers(url: str, pool: str) -> list[dict[str, Any]]:
    """The pool's workers that the server considers online; empty if there is no such pool."""
    try:
        workers = ask(f"{url}/work_pools/{pool}/workers/filter", {})
    except urllib.error.HTTPError as exc:
        if exc.code == HTTPStatus.NOT_FOUND:
            return []
        raise
    return [worker for worker in workers if worker["status"] == "ONLINE"]


def scheduled_starts(url: str, deployment: str) -> list[str] | None:
    """The start times (ISO) of a deployment's scheduled runs, the next one first.

    None if no deployment of that name has an active schedule.
    """
    found = ask(f"{url}/deployments/filter", {"deployments": {"name": {"any_": [deployment]}}})
    ids = [
        each["id"] for each in found if any(schedule["active"] for schedule in each["schedules"])
    ]
    if not ids:
        return None
    wanted = {"deployment_id": {"any_": ids}, "state": {"type": {"any_": ["SCHEDULED"]}}}
    runs = ask(f"{url}/flow_runs/filter", {"flow_runs": wanted})
    return sorted(run["expected_start_time"] for run in runs)


def ask(url: str, body: dict[str, Any] | None = None) -> Any:
    """The decoded JSON answer to a GET, or to a POST if there is a body.

    Raises OSError, or ValueError if the answer is not JSON over HTTP.
    """
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    if auth_string := prefect_auth_string():
        headers["Authorization"] = f"Basic {base64.b64encode(auth_string.encode()).decode()}"
    request = urllib.request.Request(url, data=data, headers=headers)
    without_proxy = [urllib.request.ProxyHandler({})] if LOOPBACK in url else []
    opener = urllib.request.build_opener(*without_proxy)
    try:
        with opener.open(request, timeout=_TIMEOUT_S) as answer:
            return json.load(answer)
    except HTTPException as exc:  # neither an OSError nor a ValueError
        raise ValueError(f"the answer is not HTTP, or is incomplete: {exc!r}") from exc
