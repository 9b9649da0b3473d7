"""The local stack with its real servers: started, damaged, repaired, stopped."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from dotenv import dotenv_values

from infra.errors import ServiceError
from infra.local.prefect_worker import has_worker
from infra.local.seaweedfs import has_bucket
from infra.local.stack import NAMES, StackStatus, down, status, up
from infra.settings import Settings, child_environment
from tests.support import ports
from tests.support.night import wait_until
from tests.support.victims import kill_all


def make_settings(folder: Path) -> Settings:
    return Settings(
        stack_dir=folder,
        stack_s3_port=ports.STACK_S3,
        stack_prefect_port=ports.STACK_PREFECT,
        stack_ray_port=ports.STACK_RAY,
    )


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A stack for this module. Each test calls `up`, which is quick if it is running."""
    settings = make_settings(tmp_path_factory.mktemp("one") / "stack")
    yield settings
    down(settings)


def pids(stack: StackStatus) -> dict[str, int]:
    return {process.name: process.pid for process in stack.processes if process.pid is not None}


def processes_of(folder: Path) -> list[psutil.Process]:
    """All processes with the folder in their environment, found without the stack's records."""
    found = []
    for process in psutil.process_iter():
        try:
            is_of_folder = str(folder) in process.environ().get("NIGHTSHIFT_STACK_DIR", "")
            if is_of_folder and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def assert_usable(settings: Settings) -> None:
    env = {name: str(value) for name, value in dotenv_values(settings.stack_dir / "env").items()}
    keys = env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]
    assert has_bucket(env["NIGHTSHIFT_S3_ENDPOINT_URL"], *keys)
    assert not has_bucket(env["NIGHTSHIFT_S3_ENDPOINT_URL"], keys[0], "a wrong secret")
    wait_until(lambda: has_worker(env["PREFECT_API_URL"]), "the worker")
    host, _, port = env["NIGHTSHIFT_RAY_ADDRESS"].partition(":")
    socket.create_connection((host, int(port)), timeout=5).close()


@pytest.mark.timeout(300)
def test_a_second_up_finds_everything_running(settings: Settings) -> None:
    first = up(settings)
    assert first.is_running
    assert {process.name for process in first.processes} == set(NAMES)
    assert_usable(settings)

    events: list[str] = []
    started = time.monotonic()
    assert up(settings, on_event=events.append) == first
    assert time.monotonic() - started < 5.0
    assert events == ["everything is running already"]


@pytest.mark.timeout(300)
def test_settings_that_the_worker_does_not_have_yet_are_reported(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    up(settings)
    monkeypatch.setenv("NIGHTSHIFT_PRICE_PER_HOUR", "2.5")
    events: list[str] = []
    assert up(settings, on_event=events.append).is_running
    assert len(events) == 2
    assert events[1].startswith("NIGHTSHIFT_PRICE_PER_HOUR: changed since the worker's start")


@pytest.mark.timeout(300)
def test_only_what_was_killed_is_started_again(settings: Settings) -> None:
    first = up(settings)
    victims = [psutil.Process(pids(first)[name]) for name in ("seaweedfs", "ray")]
    kill_all(victims)
    hurt = status(settings)
    assert not hurt.is_running
    assert pids(hurt).keys() == {"prefect-server", "prefect-worker"}

    mended = up(settings)
    assert mended.is_running
    assert pids(mended).items() >= pids(hurt).items()
    assert [process.port for process in mended.processes] == [
        process.port for process in first.processes
    ]
    assert_usable(settings)


@pytest.mark.timeout(300)
def test_two_stacks_with_the_same_wished_ports_run_at_the_same_time(
    settings: Settings, tmp_path: Path
) -> None:
    other = settings.model_copy(update={"stack_dir": tmp_path / "other"})
    events: list[str] = []
    one = up(settings)
    try:
        two = up(other, on_event=events.append)
        assert two.is_running
        assert not {process.port for process in one.processes[:3]} & {
            process.port for process in two.processes[:3]
        }
        assert sum("is taken" in event for event in events) == 3
        assert {process.pid for process in processes_of(other.stack_dir)} >= set(pids(two).values())
    finally:
        down(other)
    down(other, on_event=events.append)
    assert events[-1] == "nothing is running"
    assert processes_of(other.stack_dir) == []
    assert status(settings) == one
    assert_usable(settings)


BUSY = """
import time, ray

@ray.remote
class Busy:
    def begin(self): pass
    def work(self): time.sleep(600)

ray.init()
busy = Busy.options(name="busy", lifetime="detached").remote()
ray.get(busy.begin.remote())
busy.work.remote()
"""


@pytest.mark.timeout(300)
def test_down_does_not_wait_for_actors_at_work(settings: Settings) -> None:
    up(settings)
    env = {name: str(value) for name, value in dotenv_values(settings.stack_dir / "env").items()}
    env |= {**child_environment(), "RAY_ADDRESS": env["NIGHTSHIFT_RAY_ADDRESS"]}
    subprocess.run([sys.executable, "-c", BUSY], env=env, check=True, capture_output=True)
    stopped_at: dict[str, float] = {}
    down(settings, on_event=lambda event: stopped_at.update({event: time.monotonic()}))
    assert stopped_at["ray has stopped"] - stopped_at["prefect-worker has stopped"] < 15.0


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServiceError, match="cannot create the folder"):
        up(make_settings(tmp_path / "file" / "stack"))
