"""Whole nights on the real stack: S3 server, Prefect server and worker, Ray; driven by the command line."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from dotenv import dotenv_values

from infra.local import down, status
from infra.settings import Settings, child_environment
from infra.storage import Storage, open_storage
from tests.unit.workers.kettle_texts import examples
from workers.tables import ATTRIBUTES

pytestmark = pytest.mark.timeout(900)
DAY = "2026-11-22"
NUM_PRODUCTS = 60
JOB = "product_descriptions"
WAIT_S = 240
SLOWLY = ("--set", "rows_per_shard=3", "--set", "batch_rows=1", "--set", "num_candidates=150")
"""Many shards with much to do for each, so that a run can be met half way."""


@dataclass
class Night:
    """A running stack with a trained model, and the command line on it."""

    folder: Path
    environment: dict[str, str]

    def start(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *words],
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, *words: str, status: int = 0) -> str:
        """Runs a command to its end; fails with its output unless it ends with `status`."""
        process = self.start(*words)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == status, output
        return output

    @property
    def stack(self) -> Settings:
        return Settings(stack_dir=self.folder / ".nightshift")

    @cached_property
    def storage(self) -> Storage:
        env = dotenv_values(self.folder / ".nightshift" / "env")
        with pytest.MonkeyPatch.context() as patch:
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                patch.setenv(name, env[name] or "")
            return open_storage(
                Settings(
                    storage_uri=env["NIGHTSHIFT_STORAGE_URI"] or "", s3_endpoint_url=env["NIGHTSHIFT_S3_ENDPOINT_URL"]
                )
            )

    @property
    def api(self) -> httpx.Client:
        env = dotenv_values(self.folder / ".nightshift" / "env")
        return httpx.Client(base_url=f"{env['PREFECT_API_URL']}/", timeout=30)

    def manifest(self, day: str, job: str = JOB) -> dict[str, Any]:
        return json.loads(self.storage.get(f"outputs/{job}/dt={day}/_SUCCESS"))

    def forget(self, day: str) -> None:
        """Removes everything of the date, as if it had never been run."""
        for prefix in (f"outputs/{JOB}/dt={day}/", f"work/{JOB}/dt={day}/"):
            self.storage.delete([item.key for item in self.storage.list(prefix)])

    def num_parts(self, day: str) -> int:
        return sum("/part-" in item.key for item in self.storage.list(f"work/{JOB}/dt={day}/"))


def wait_until(is_so: Callable[[], Any], what: str) -> Any:
    """What `is_so` gives once it is true; fails after four minutes."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if found := is_so():
            return found
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
    copy = pa.schema([("intent", pa.string()), ("attributes", ATTRIBUTES), ("reference", pa.string())])
    pq.write_table(pa.Table.from_pylist(rows, copy), folder / "examples.parquet")
    products = [
        {"product_id": f"p{number}", "title": row["attributes"][0]["value"], "attributes": row["attributes"]}
        for number, row in enumerate(rows[:NUM_PRODUCTS])
    ]
    catalog = pa.schema([("product_id", pa.string()), ("title", pa.string()), ("attributes", ATTRIBUTES)])
    pq.write_table(pa.Table.from_pylist(products, catalog), folder / "products.parquet")


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    folder = tmp_path_factory.mktemp("night")
    ours = {
        "NIGHTSHIFT_STACK_S3_PORT": "24333",
        "NIGHTSHIFT_STACK_PREFECT_PORT": "24200",
        "NIGHTSHIFT_STACK_RAY_PORT": "24379",
    }
    foreign = ("AWS_", "PREFECT_", "RAY_", "NIGHTSHIFT_")
    inherited = {name: value for name, value in child_environment().items() if not name.startswith(foreign)}
    night = Night(folder, {**inherited, **ours, "PYTHONPATH": os.getcwd()})
    write_inputs(folder)
    try:
        night.run("up")
        night.run("inputs", "put", "copy_examples", "examples.parquet")
        night.run("inputs", "put", "catalog", "products.parquet")
        small = ("width=48", "num_layers=2", "num_heads=2", "max_steps=150", "num_threads=2")
        night.run("train", JOB, "--date", DAY, *(word for one in small for word in ("--set", one)))
        yield night
    finally:
        down(night.stack)
        assert not any(process.pid for process in status(night.stack).processes)


def test_a_night_publishes_every_product_once(night: Night) -> None:
    output = night.run("nightly", "--date", DAY)
    assert f"{JOB}: published" in output
    assert "copywriting: skipped" in output
    filesystem, root = night.storage.filesystem()
    dataset = ds.dataset(f"{root}/outputs/{JOB}", filesystem=filesystem, partitioning="hive")
    rows = dataset.to_table()
    assert sorted(rows["product_id"].to_pylist()) == sorted(f"p{number}" for number in range(NUM_PRODUCTS))
    assert set(rows["dt"].to_pylist()) == {DAY}
    assert all(rows["passed"].to_pylist())
    frame = pd.read_parquet(f"{root}/outputs/{JOB}", filesystem=filesystem)
    assert len(frame) == frame["product_id"].nunique() == NUM_PRODUCTS


def test_exported_rows_are_read_by_duckdb_with_their_partition(night: Night) -> None:
    night.run("export", JOB, "--date", DAY, "--to", "rows")
    files = f"read_parquet('{night.folder}/rows/**/*.parquet')"
    query = f"select count(*), count(distinct product_id), min(dt)::varchar from {files}"
    assert duckdb.sql(query).fetchall() == [(NUM_PRODUCTS, NUM_PRODUCTS, DAY)]
    assert "is not empty" in night.run("export", JOB, "--date", DAY, "--to", "rows", status=2)


def test_the_same_night_again_changes_nothing_and_says_so(night: Night) -> None:
    before = {item.key: item.modified for item in night.storage.list("outputs/")}
    assert "nothing changed since" in night.run("run", JOB, "--date", DAY)
    assert {item.key: item.modified for item in night.storage.list("outputs/")} == before


def test_a_killed_run_resumes_with_the_missing_shards_and_the_same_bytes(night: Night) -> None:
    day = "2026-11-20"
    night.run("run", JOB, "--date", day, *SLOWLY)
    undisturbed = night.manifest(day)
    night.forget(day)
    victim = night.start("run", JOB, "--date", day, *SLOWLY)
    wait_until(lambda: night.num_parts(day) >= 3, "three parts")
    os.killpg(victim.pid, 9)
    victim.communicate()
    assert night.num_parts(day) < NUM_PRODUCTS // 3
    output = night.run("run", JOB, "--date", day, *SLOWLY)
    assert "shards are already written" in output
    resumed = night.manifest(day)
    assert [part["sha256"] for part in resumed["parts"]] == [part["sha256"] for part in undisturbed["parts"]]
    assert resumed["counts"] == undisturbed["counts"]


def test_an_actor_that_is_killed_is_replaced(night: Night) -> None:
    day = "2026-11-19"
    run = night.start("run", JOB, "--date", day, *SLOWLY)
    wait_until(lambda: night.num_parts(day) >= 1, "a part")
    actor = wait_until(lambda: find_actor(night, "GenerateActor"), "an actor")
    actor.kill()
    output, _ = run.communicate(timeout=200)
    assert run.returncode == 0, output
    assert "died and is replaced" in output
    counts = night.manifest(day)["counts"]
    assert counts["accepted"] + counts["rejected"] + counts["quarantined"] == NUM_PRODUCTS


def find_actor(night: Night, kind: str) -> psutil.Process | None:
    """A process of this stack that runs an actor of that kind."""
    ray = next(process.pid for process in status(night.stack).processes if process.name == "ray")
    for child in psutil.Process(ray).children(recursive=True):
        if child.is_running() and " ".join(child.cmdline()).startswith(f"ray::{kind}"):
            return child
    return None


def test_a_training_whose_actor_is_killed_goes_on_from_its_checkpoint(night: Night) -> None:
    small = ("width=32", "num_layers=1", "num_heads=2", "max_steps=2000", "patience=100", "checkpoint_every_s=0.2")
    run = night.start("train", JOB, "--date", "2026-11-15", *(word for one in small for word in ("--set", one)))
    wait_until(lambda: list(night.storage.list("work/models/")), "a checkpoint")
    wait_until(lambda: find_actor(night, "TrainActor"), "the actor").kill()
    output, _ = run.communicate(timeout=200)
    assert run.returncode == 0, output
    assert output.count("going on from the last checkpoint") == 2  # the driver replaces the actor, the actor finds it
    assert not list(night.storage.list("work/models/"))


def test_a_deployment_does_the_same_and_its_page_has_the_actors_logs(night: Night) -> None:
    day = "2026-11-18"
    command = [sys.executable, "-m", "prefect", "deployment", "run", "generate/generate"]
    parameters = ["-p", f"job={JOB}", "-p", f"date={day}"]
    env = night.environment | {k: v or "" for k, v in dotenv_values(night.folder / ".nightshift" / "env").items()}
    subprocess.run([*command, *parameters], env=env, cwd=night.folder, check=True, capture_output=True)
    with night.api as api:
        runs = {"flow_runs": {"name": {"any_": [f"{JOB} · {day}"]}}}
        run = wait_until(lambda: finished(api.post("flow_runs/filter", json=runs).json()), "the run's end")
        assert run["state"]["name"] == "Published", run["state"]
        logs = {"logs": {"flow_run_id": {"any_": [run["id"]]}}}
        found = wait_until(
            lambda: [line for line in api.post("logs/filter", json=logs).json() if "shard 0:" in line["message"]],
            "the log line of shard 0",
        )
        assert "actor" in found[0]["message"]
        artifacts = api.post("artifacts/filter", json={"flow_runs": {"id": {"any_": [run["id"]]}}}).json()
        assert {artifact["type"] for artifact in artifacts} >= {"progress", "table", "markdown"}
    assert night.manifest(day)["counts"]["accepted"] == NUM_PRODUCTS


def finished(runs: list[dict[str, Any]]) -> dict[str, Any] | None:
    ended = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
    return next((run for run in runs if run["state"] and run["state"]["type"] in ended), None)


def test_a_gate_holds_a_bad_model_back(night: Night) -> None:
    day = "2026-11-17"
    small = ("width=16", "num_layers=1", "num_heads=2", "max_steps=1")
    output = night.run("train", JOB, "--date", DAY, *(word for one in small for word in ("--set", one)))
    assert "stays a challenger" in output
    versions = json.loads(night.run("models", JOB, "--json"))["copywriter"]
    bad = next(version for version in versions["versions"] if version["metrics"]["steps"] == 1)
    output = night.run("run", JOB, "--date", day, "--model-policy", bad["version"], status=3)
    assert "passed_share is 0, the limit is 0.8" in output
    assert not list(night.storage.list(f"outputs/{JOB}/dt={day}/"))
    (state,) = json.loads(night.run("show", JOB, "--date", day, "--json"))
    assert (state["state"], state["reasons"]) == ("held", ["passed_share is 0, the limit is 0.8"])


def test_what_the_cluster_can_never_give_fails_at_once(night: Night) -> None:
    output = night.run("run", JOB, "--date", "2026-11-16", "--set", "num_gpus=1", status=1)
    assert "an actor needs 1 CPUs and 1 GPUs, the cluster has" in output


def test_a_backfill_makes_the_missing_dates_only(night: Night) -> None:
    before = night.manifest(DAY)
    output = night.run("backfill", JOB, "--start", "2026-11-21", "--end", DAY)
    assert f"2026-11-21 {JOB}: published" in output
    assert f"{DAY} {JOB}" not in output
    assert night.manifest(DAY) == before


def test_changed_inputs_supersede_the_partition(night: Night) -> None:
    table = pq.read_table(night.folder / "products.parquet")
    pq.write_table(table.slice(0, 20), night.folder / "fewer.parquet")
    night.run("inputs", "put", "catalog", "fewer.parquet", "--replace")
    assert "20 rows published" in night.run("run", JOB, "--date", DAY)
    filesystem, root = night.storage.filesystem()
    rows = ds.dataset(f"{root}/outputs/{JOB}/dt={DAY}", filesystem=filesystem).to_table()
    assert rows.num_rows == 20
