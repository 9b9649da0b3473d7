"""A running stack with a trained model and the command line, for tests of whole nights."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dotenv import dotenv_values

from infra.local.stack import down, status
from infra.settings import Settings, child_environment
from infra.storage import Storage, open_storage
from tests.support import ports
from tests.support.processes import descendants, is_actor
from tests.unit.workers.kettle_texts import examples
from workers.inputs.tables import ATTRIBUTES

DAY = "2026-11-22"
NUM_PRODUCTS = 60
JOB = "product_descriptions"
MARKUP = "<script>alert(1)</script>"
"""The name of the first product."""
MARKUP_ID = "p0"
WAIT_S = 240


def as_options(settings: str) -> tuple[str, ...]:
    """Converts a deployment's settings, "a=1 b=2", into options of the command line."""
    return tuple(word for one in settings.split() for word in ("--set", one))


WORK = "batch_rows=1 temperature=1.2"
"""Makes a row slow: equal candidates are scored once, and at this temperature few are equal."""
SLOW_SHARDS = f"{WORK} rows_per_shard=3 num_candidates=600"
"""Twenty shards, five seconds of work for two actors: enough to interfere in the middle of a run,
even on a busy machine."""
SLOWER_SHARDS = f"{WORK} rows_per_shard=3 num_candidates=1500"
"""More than ten seconds of work."""
SLOWEST_SHARDS = f"{WORK} rows_per_shard=1 num_candidates=6000"
"""Sixty shards and half a minute."""
SLOWLY = as_options(SLOW_SHARDS)
SMALL_MODEL = as_options("width=48 num_layers=2 num_heads=2 max_steps=150 num_threads=2")
"""Retrained on the same data it is the same model, which does not beat itself: the champion
stays."""
PREFECT_SETTINGS = """
[worker]
query_seconds = 2

[server.deployments]
concurrency_slot_wait_seconds = 1
"""
"""By default Prefect looks for runs to start only every ten or thirty seconds."""
S3_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


class Api(httpx.Client):
    """Retries, as Prefect's own client does, while the server's database is locked."""

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        def answer() -> httpx.Response | None:
            found = super(Api, self).send(request, **options)
            return None if found.status_code == httpx.codes.SERVICE_UNAVAILABLE else found

        return wait_until(answer, f"an answer to {request.url}")


@dataclass
class Night:
    """A running stack with a trained model, and the command line on it."""

    folder: Path
    environment: dict[str, str]

    def start(self, *words: str, module: str = "flows.cli") -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", module, *words],
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, *words: str, status: int = 0, module: str = "flows.cli") -> str:
        """Runs a command to its end; fails with its output unless it ends with `status`."""
        process = self.start(*words, module=module)
        output, _ = process.communicate(timeout=600)
        assert process.returncode == status, output
        return output

    @property
    def stack(self) -> Settings:
        return Settings(stack_dir=self.folder / ".nightshift")

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables with which any process finds the stack."""
        return {
            name: value or ""
            for name, value in dotenv_values(self.folder / ".nightshift" / "env").items()
        }

    @cached_property
    def storage(self) -> Storage:
        env = self.variables | self.environment
        with pytest.MonkeyPatch.context() as patch:
            for name in S3_KEYS:
                patch.setenv(name, env[name])
            return open_storage(
                Settings(
                    storage_uri=env["NIGHTSHIFT_STORAGE_URI"],
                    s3_endpoint_url=env["NIGHTSHIFT_S3_ENDPOINT_URL"],
                    s3_addressing_style="path",
                    s3_checksums=env.get("NIGHTSHIFT_S3_CHECKSUMS", "when_supported"),  # type: ignore[arg-type]
                )
            )

    def on_store(self, uri: str, endpoint: str = "", checksums: str = "when_supported") -> "Night":
        """The same Ray, Prefect, inputs and models on another store; on S3 it has the stack's
        keys."""
        storage = {
            "NIGHTSHIFT_STORAGE_URI": uri,
            "NIGHTSHIFT_S3_ENDPOINT_URL": endpoint,
            "NIGHTSHIFT_S3_ADDRESSING_STYLE": "path",
            "NIGHTSHIFT_S3_CHECKSUMS": checksums,
            **{name: self.variables[name] for name in S3_KEYS},
        }
        other = Night(self.folder, self.environment | storage)
        for prefix in ("inputs/", "models/"):
            for item in self.storage.list(prefix):
                other.storage.put(item.key, self.storage.get(item.key))
        return other

    @property
    def api(self) -> Api:
        return Api(base_url=f"{self.variables['PREFECT_API_URL']}/", timeout=30)

    def manifest(self, day: str, job: str = JOB) -> dict[str, Any]:
        return json.loads(self.storage.get(f"outputs/{job}/dt={day}/_SUCCESS"))

    def forget(self, day: str) -> None:
        """Deletes everything of the date, as if it had never been run."""
        for prefix in (f"outputs/{JOB}/dt={day}/", f"work/{JOB}/dt={day}/"):
            self.storage.delete([item.key for item in self.storage.list(prefix)])

    def num_parts(self, day: str) -> int:
        return sum("/part-" in item.key for item in self.storage.list(f"work/{JOB}/dt={day}/"))


def wait_until(
    is_so: Callable[[], Any], what: str, run: "subprocess.Popen[str] | None" = None
) -> Any:
    """Returns `is_so()` once it is true; fails after four minutes, or if `run` ends before that."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if found := is_so():
            return found
        if run is not None and run.poll() is not None:
            pytest.fail(f"ended without {what}:\n{run.communicate()[0]}")
        time.sleep(0.05)
    pytest.fail(f"waited {WAIT_S} s in vain: {what}")


def write_inputs(folder: Path) -> None:
    texts = examples(300)
    rows = [
        {
            "intent": text.request.intent,
            "attributes": [{"key": key, "value": value} for key, value in text.request.attributes],
            "reference": text.reference,
        }
        for text in texts
    ]
    copy = pa.schema(
        [("intent", pa.string()), ("attributes", ATTRIBUTES), ("reference", pa.string())]
    )
    pq.write_table(pa.Table.from_pylist(rows, copy), folder / "examples.parquet")
    products = [
        {
            "product_id": f"p{number}",
            "title": row["attributes"][0]["value"],
            "attributes": row["attributes"],
        }
        for number, row in enumerate(rows[:NUM_PRODUCTS])
    ]
    products[0] |= {
        "title": MARKUP,
        "attributes": [{"key": "name", "value": MARKUP}, *rows[0]["attributes"][1:]],
    }
    catalog = pa.schema(
        [("product_id", pa.string()), ("title", pa.string()), ("attributes", ATTRIBUTES)]
    )
    pq.write_table(pa.Table.from_pylist(products, catalog), folder / "products.parquet")


def find_actor(night: Night, kind: str) -> psutil.Process | None:
    """A process of this stack that runs an actor of the class `kind`."""
    ray = next(process.pid for process in status(night.stack).processes if process.name == "ray")
    return next(
        (child for child in descendants(psutil.Process(ray)) if is_actor(child, kind)), None
    )


def state_of(night: Night, run_id: str) -> dict[str, Any]:
    with night.api as api:
        return api.get(f"flow_runs/{run_id}").json()["state"]


def start_deployment(night: Night, name: str, parameters: dict[str, Any], *, flow: str = "") -> str:
    """Starts the deployment `name` of the flow `flow`, by default of the same name.

    Returns the flow run's id.
    """
    with night.api as api:
        deployment = api.get(f"deployments/name/{flow or name}/{name}").json()
        answer = api.post(
            f"deployments/{deployment['id']}/create_flow_run", json={"parameters": parameters}
        )
        return answer.raise_for_status().json()["id"]


def ended_deployment(
    night: Night, name: str, parameters: dict[str, Any], *, flow: str = ""
) -> dict[str, Any]:
    """Runs a deployment and returns the state in which it ended."""
    run_id = start_deployment(night, name, parameters, flow=flow)
    ends = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
    return wait_until(
        lambda: (found := state_of(night, run_id))["type"] in ends and found, f"the run of {name}"
    )


def finished(runs: list[dict[str, Any]]) -> dict[str, Any] | None:
    ended = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
    return next((run for run in runs if run["state"] and run["state"]["type"] in ended), None)


@contextmanager
def running_night(folder: Path, first_s3_port: int = ports.NIGHT_S3) -> Iterator[Night]:
    """Starts the stack below `folder`, loads inputs and trains; stops everything at the end."""
    ours = {
        "NIGHTSHIFT_STACK_S3_PORT": str(first_s3_port),
        "NIGHTSHIFT_STACK_PREFECT_PORT": str(ports.NIGHT_PREFECT),
        "NIGHTSHIFT_STACK_RAY_PORT": str(ports.NIGHT_RAY),
    }
    foreign = ("AWS_", "PREFECT_", "RAY_", "NIGHTSHIFT_")
    inherited = {
        name: value for name, value in child_environment().items() if not name.startswith(foreign)
    }
    night = Night(folder, {**inherited, **ours, "PYTHONPATH": os.getcwd()})
    write_inputs(folder)
    (folder / "prefect.toml").write_text(PREFECT_SETTINGS)
    try:
        night.run("up")
        night.run("inputs", "put", "copy_examples", "examples.parquet")
        night.run("inputs", "put", "catalog", "products.parquet")
        night.run("train", JOB, "--date", DAY, *SMALL_MODEL)
        yield night
    finally:
        down(night.stack)
        assert not any(process.pid for process in status(night.stack).processes)
