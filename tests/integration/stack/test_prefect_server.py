"""The stack's Prefect server on SQLite, with clients that disconnect before they are answered."""

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from infra.local import supervised
from infra.local.ports import PortBook
from infra.local.prefect_server import api_url, prefect_server_spec
from infra.settings import child_environment
from tests.support import ports

NUM_CLIENTS = 12
NUM_VISITS = 25
PATIENCE_S = (0.05, 0.1, 0.3, 1.0)
STANDSTILL_S = 30
"""Half of the time that SQLite waits for a lock in Prefect's server."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The API's address of a server for a single test."""
    port = PortBook(tmp_path / "ports.json").choose("prefect", wished=ports.PREFECT)
    spec = prefect_server_spec(
        port=port, env={**child_environment(), "PREFECT_HOME": str(tmp_path / "prefect")}
    )
    supervised.start(spec, tmp_path)
    yield api_url(port)
    supervised.stop(spec.name, tmp_path, timeout_s=0)


def visit(api: str, patience_s: float) -> bool:
    """Records a run as Prefect's clients do; returns whether all answers came in time."""
    try:
        with httpx.Client(base_url=api, timeout=patience_s) as client:
            flow = client.post("/flows/", json={"name": "flow"}).json()["id"]
            run = client.post(
                "/flow_runs/", json={"flow_id": flow, "state": {"type": "PENDING"}}
            ).json()["id"]
            for state in ("RUNNING", "COMPLETED"):
                client.post(f"/flow_runs/{run}/set_state", json={"state": {"type": state}})
            client.post("/flow_runs/filter", json={"limit": 50})
        return True
    except httpx.TimeoutException:
        return False
    except KeyError:  # the answer says that the database is locked
        return False


@pytest.mark.timeout(300)
def test_clients_that_disconnect_do_not_block_the_server(server: str) -> None:
    def visits(seed: int) -> list[bool]:
        patience = random.Random(seed)
        return [visit(server, patience.choice(PATIENCE_S)) for _ in range(NUM_VISITS)]

    waits_s: list[float] = []
    with ThreadPoolExecutor(NUM_CLIENTS) as pool:
        clients = [pool.submit(visits, seed) for seed in range(NUM_CLIENTS)]
        while not all(client.done() for client in clients):
            asked = time.monotonic()
            httpx.get(f"{server}/health", timeout=2 * STANDSTILL_S).raise_for_status()
            waits_s.append(time.monotonic() - asked)
    assert not all(answered for client in clients for answered in client.result()), (
        "no client disconnected"
    )
    assert max(waits_s) < STANDSTILL_S
