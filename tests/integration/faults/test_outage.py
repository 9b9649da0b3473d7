"""The Prefect server dies, runs are cancelled, killed or interrupted: no work is lost, and no actor
is left."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from infra.local.stack import status
from tests.support.night import (
    JOB,
    NUM_PRODUCTS,
    SLOWEST_SHARDS,
    SLOWLY,
    Night,
    as_options,
    find_actor,
    start_deployment,
    state_of,
    wait_until,
)
from tests.support.processes import descendants, title

pytestmark = pytest.mark.timeout(900)
FREED_WITHIN_S = 30


def pid_of(night: Night, name: str) -> int:
    pid = next(process.pid for process in status(night.stack).processes if process.name == name)
    assert pid is not None
    return pid


def run_id_in(output: str) -> str:
    return output.rsplit("/runs/flow-run/", 1)[1].split(maxsplit=1)[0]


def test_a_run_survives_a_restart_of_the_server(night: Night) -> None:
    day = "2026-10-01"
    run = night.start("run", JOB, "--date", day, *SLOWLY)
    wait_until(lambda: night.num_parts(day) >= 2, "two parts", run)
    os.kill(pid_of(night, "prefect-server"), signal.SIGKILL)
    wait_until(
        lambda: list(night.storage.list(f"outputs/{JOB}/dt={day}/_SUCCESS")),
        "publishing without the server",
    )
    assert run.poll() is None
    night.run("up")
    output, _ = run.communicate(timeout=200)
    assert run.returncode == 0, output
    assert "waiting for it" in output
    assert "Traceback" not in output
    assert state_of(night, run_id_in(output))["name"] == "Published"
    assert night.manifest(day)["counts"]["input_rows"] == NUM_PRODUCTS


def test_a_partition_is_published_although_the_server_never_returns(
    night: Night,
) -> None:
    day = "2026-10-02"
    impatient = {"NIGHTSHIFT_SERVER_WAIT_S": "2", "PREFECT_CLIENT_MAX_RETRIES": "2"}
    run = Night(night.folder, night.environment | impatient).start(
        "run", JOB, "--date", day, *SLOWLY
    )
    wait_until(lambda: night.num_parts(day) >= 2, "two parts", run)
    os.kill(pid_of(night, "prefect-server"), signal.SIGKILL)
    output, _ = run.communicate(timeout=200)
    night.run("up")
    # in time, although Prefect has much to send to its server
    assert run.returncode == 0, output
    assert f"{JOB} {day} is published" in output
    assert "the Prefect server did not come back" in output
    assert "Traceback" not in output
    assert night.manifest(day)["counts"]["input_rows"] == NUM_PRODUCTS


def test_however_a_run_is_stopped_its_actors_are_freed_and_the_next_run_resumes(
    night: Night,
) -> None:
    day = "2026-10-03"
    with night.api as api:
        run_id = start_deployment(
            night, "generate", {"job": JOB, "date": day, "settings": SLOWEST_SHARDS}
        )
        wait_for_work(night, day)
        with freeing_actors(night):
            api.post(
                f"flow_runs/{run_id}/set_state", json={"state": {"type": "CANCELLING"}}
            ).raise_for_status()
        wait_until(lambda: state_of(night, run_id)["type"] == "CANCELLED", "the state Cancelled")

        run_id = start_deployment(
            night, "generate", {"job": JOB, "date": day, "settings": SLOWEST_SHARDS}
        )
        wait_for_work(night, day)
        with freeing_actors(night):
            flow_process(night).kill()
        wait_until(lambda: state_of(night, run_id)["type"] == "CRASHED", "the state Crashed")

    interrupted = night.start("run", JOB, "--date", day, *as_options(SLOWEST_SHARDS))
    wait_for_work(night, day)
    with freeing_actors(night):
        interrupted.send_signal(signal.SIGINT)
    output, _ = interrupted.communicate(timeout=60)
    assert "shards are already written" in output
    assert "and the same command resumes them" in output

    output = night.run("run", JOB, "--date", day, *as_options(SLOWEST_SHARDS))
    assert "shards are already written" in output
    counts = night.manifest(day)["counts"]
    assert counts["accepted"] + counts["rejected"] + counts["quarantined"] == NUM_PRODUCTS


def test_cancelling_a_backfill_ends_all_its_dates(night: Night) -> None:
    days = ["2026-10-04", "2026-10-05", "2026-10-06"]
    parameters = {
        "job": JOB,
        "start": days[0],
        "end": days[2],
        "settings": SLOWEST_SHARDS,
        "max_parallel": 2,
    }
    with night.api as api:
        run_id = start_deployment(night, "backfill", parameters)
        wait_until(
            lambda: night.num_parts(days[0]) and night.num_parts(days[1]),
            "work on two dates at once",
        )
        with freeing_actors(night):
            api.post(
                f"flow_runs/{run_id}/set_state", json={"state": {"type": "CANCELLING"}}
            ).raise_for_status()
        wait_until(lambda: state_of(night, run_id)["type"] == "CANCELLED", "the state Cancelled")
        below = {"flow_runs": {"parent_flow_run_id": {"any_": [run_id]}}}
        states = [run["state"]["type"] for run in api.post("flow_runs/filter", json=below).json()]
        assert len(states) == 2
        assert set(states) == {"CANCELLED"}
    assert night.num_parts(days[2]) == 0


def wait_for_work(night: Night, day: str) -> None:
    """Waits until the run has written one more part and an actor is at work."""
    before = night.num_parts(day)
    wait_until(
        lambda: night.num_parts(day) > before and find_actor(night, "GenerateActor"),
        "an actor at work",
    )


@contextmanager
def freeing_actors(night: Night) -> Iterator[None]:
    """What is done in this context must free the actors within 30 s."""
    assert find_actor(night, "GenerateActor")
    began = time.monotonic()
    yield
    wait_until(lambda: not find_actor(night, "GenerateActor"), "the end of the actors")
    assert time.monotonic() - began < FREED_WITHIN_S


def flow_process(night: Night) -> psutil.Process:
    """The process in which the deployment's flow runs."""
    worker = psutil.Process(pid_of(night, "prefect-worker"))
    return [child for child in descendants(worker) if "prefect" in title(child)][-1]
