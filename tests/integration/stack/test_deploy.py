"""The programs of infra/deploy's containers, on this machine: a Prefect server with a password,
register.sh, worker.sh."""

import os
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import ray
from prefect.client.orchestration import SyncPrefectClient

from infra.local import supervised
from infra.local.ports import PortBook
from infra.local.prefect_server import api_url, is_healthy, online_workers, server_version
from infra.local.prefect_worker import WORK_POOL
from infra.settings import child_environment
from tests.conftest import REPO_ROOT
from tests.support import ports
from tests.support.night import wait_until
from tests.support.processes import raylet_below
from tests.support.ray_cluster import running_cluster

DEPLOY = REPO_ROOT / "infra" / "deploy"
PASSWORD = "nightshift:open-sesame"
QUEUES = ("nightly", "default", "backfill")


@dataclass(frozen=True, slots=True)
class Server:
    url: str
    environment: dict[str, str]
    """The environment of its clients, with the password."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("prefect")
    port = PortBook(folder / "ports.json").choose("prefect", wished=ports.DEPLOYED_PREFECT)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    clients = child_environment(
        PATH=path,
        PREFECT_API_URL=api_url(port),
        PREFECT_API_AUTH_STRING=PASSWORD,
        PREFECT_HOME=str(folder / "home"),
        DO_NOT_TRACK="1",
    )
    of_server = {
        "PREFECT_SERVER_API_AUTH_STRING": PASSWORD,
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(folder / "ui"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    command = (sys.executable, "-m", "prefect", "server", "start")
    spec = supervised.ProcessSpec(
        name="prefect-server",
        argv=[*command, "--host", "127.0.0.1", "--port", str(port)],
        env=clients | of_server,
        is_ready=lambda: is_healthy(api_url(port)),
        ready_timeout_s=120,
    )
    supervised.start(spec, folder)
    yield Server(api_url(port), clients)
    supervised.stop(spec.name, folder, timeout_s=5)


@pytest.mark.timeout(300)
def test_only_the_health_check_needs_no_password(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_AUTH_STRING", raising=False)
    assert is_healthy(server.url)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        server_version(server.url)
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", PASSWORD)
    assert server_version(server.url).startswith("3.")


@pytest.mark.timeout(400)
def test_registering_again_changes_nothing(server: Server) -> None:
    for _ in range(2):
        done = subprocess.run(
            ["sh", str(DEPLOY / "register.sh")],
            cwd=REPO_ROOT,  # the folder of prefect.yaml
            env=server.environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        with SyncPrefectClient(server.url, auth_string=PASSWORD) as client:
            queues = {
                name: client.read_work_queue_by_name(name, work_pool_name=WORK_POOL)
                for name in QUEUES
            }
            assert [queues[name].priority for name in QUEUES] == [1, 2, 3]
            assert client.read_deployment_by_name("nightly/nightly").work_queue_name == "nightly"


@pytest.mark.timeout(300)
def test_a_worker_is_a_ray_node_without_resources_and_ends_with_it(
    server: Server,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", PASSWORD)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        health_port = PortBook(tmp_path / "ports.json").choose(
            "health", wished=ports.DEPLOYED_HEALTH
        )
        spec = supervised.ProcessSpec(
            name="worker",
            argv=["/bin/sh", str(DEPLOY / "worker.sh")],
            env=server.environment
            | {
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN_PATH": cluster.environment["RAY_AUTH_TOKEN_PATH"],
                "NIGHTSHIFT_RAY_ADDRESS": cluster.address,
                "PREFECT_WORKER_WEBSERVER_PORT": str(health_port),
            },
            is_ready=lambda: has_workers(server.url),
            ready_timeout_s=120,
        )
        try:
            worker = supervised.start(spec, tmp_path)
            wait_until(lambda: len(live_nodes()) == 2, "the worker's node")
            assert [node["Resources"].get("CPU", 0) for node in live_nodes()].count(0) == 1
            raylet_below(worker).kill()
            wait_until(lambda: not supervised.is_alive(worker), "its end")
        finally:
            supervised.stop(spec.name, tmp_path, timeout_s=5)


def live_nodes() -> list[dict[str, dict[str, float]]]:
    return [node for node in ray.nodes() if node["Alive"]]


def has_workers(url: str) -> bool:
    """Whether a worker is online; False also if the server is too busy to answer."""
    try:
        return bool(online_workers(url, WORK_POOL))
    except (OSError, ValueError):
        return False
