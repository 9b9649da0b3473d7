"""Whole nights on the real stack (S3, Prefect and Ray), driven by the command line."""

import gzip
import json
import os
import signal
import subprocess
import sys
from typing import Any

import duckdb
import httpx
import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from dotenv import dotenv_values

from tests.support.night import (
    DAY,
    JOB,
    NUM_PRODUCTS,
    SLOWEST_SHARDS,
    SLOWLY,
    Night,
    as_options,
    ended_deployment,
    find_actor,
    finished,
    start_deployment,
    wait_until,
)
from tests.support.reader import filesystem_of

pytestmark = pytest.mark.timeout(900)


def test_a_night_publishes_every_product_once(night: Night) -> None:
    output = night.run("nightly", "--date", DAY)
    assert f"{JOB}: published" in output
    assert "copywriting: skipped" in output
    filesystem, root = filesystem_of(night.storage)
    dataset = ds.dataset(f"{root}/outputs/{JOB}", filesystem=filesystem, partitioning="hive")
    rows = dataset.to_table(filter=ds.field("dt") == DAY)
    assert sorted(rows["product_id"].to_pylist()) == sorted(
        f"p{number}" for number in range(NUM_PRODUCTS)
    )
    assert all(rows["passed"].to_pylist())
    frame = pd.read_parquet(
        f"{root}/outputs/{JOB}", filesystem=filesystem, filters=[("dt", "==", DAY)]
    )
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
    wait_until(lambda: night.num_parts(day) >= 3, "three parts", victim)
    os.killpg(victim.pid, 9)
    victim.communicate()
    assert night.num_parts(day) < NUM_PRODUCTS // 3
    output = night.run("run", JOB, "--date", day, *SLOWLY)
    assert "shards are already written" in output
    resumed = night.manifest(day)
    assert [part["sha256"] for part in resumed["parts"]] == [
        part["sha256"] for part in undisturbed["parts"]
    ]
    assert resumed["counts"] == undisturbed["counts"]


def test_an_actor_that_is_killed_is_replaced(night: Night) -> None:
    day = "2026-11-19"
    run = night.start("run", JOB, "--date", day, *SLOWLY)
    wait_until(lambda: night.num_parts(day) >= 1, "a part", run)
    actor = wait_until(lambda: find_actor(night, "GenerateActor"), "an actor", run)
    actor.kill()
    output, _ = run.communicate(timeout=200)
    assert run.returncode == 0, output
    assert " died: " in output
    counts = night.manifest(day)["counts"]
    assert counts["accepted"] + counts["rejected"] + counts["quarantined"] == NUM_PRODUCTS


def test_of_two_runs_of_one_date_at_once_one_publishes_and_the_other_says_so(night: Night) -> None:
    day = "2026-11-14"
    runs = [night.start("run", JOB, "--date", day, *as_options(SLOWEST_SHARDS)) for _ in range(2)]
    outputs = [run.communicate(timeout=300)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert sum("rows published" in output for output in outputs) == 1
    assert sum("by another run in the meantime" in output for output in outputs) == 1
    manifest = night.manifest(day)
    keys = {item.key for item in night.storage.list(f"outputs/{JOB}/dt={day}/part-")}
    assert keys == {part["key"] for part in manifest["parts"]}
    assert not night.num_parts(day)


def test_a_training_whose_actor_is_killed_resumes_from_its_checkpoint(night: Night) -> None:
    small = (
        "width=32 num_layers=1 num_heads=2 max_steps=2000 patience=100 "
        "checkpoint_every_s=0.2 trace_steps=2"
    )
    run = night.start("train", JOB, "--date", "2026-11-15", *as_options(small))
    wait_until(lambda: list(night.storage.list("work/models/")), "a checkpoint", run)
    wait_until(lambda: find_actor(night, "TrainActor"), "the actor", run).kill()
    output, _ = run.communicate(timeout=200)
    assert run.returncode == 0, output
    assert "another actor takes over" in output
    assert "resuming from the last checkpoint" in output, "the actor found one"
    assert not list(night.storage.list("work/models/"))
    version = output.partition(" is ready after")[0].rpartition("· ")[2]
    assert f"models/copywriter/{version}/tensorboard/steps.pt.trace.json.gz" in output


def test_a_deployment_does_the_same_and_its_page_has_the_actors_logs(night: Night) -> None:
    day = "2026-11-18"
    command = [sys.executable, "-m", "prefect", "deployment", "run", "generate/generate"]
    parameters = ["-p", f"job={JOB}", "-p", f"date={day}"]
    stack = dotenv_values(night.folder / ".nightshift" / "env")
    env = night.environment | {name: value or "" for name, value in stack.items()}
    subprocess.run(
        [*command, *parameters], env=env, cwd=night.folder, check=True, capture_output=True
    )
    with night.api as api:
        runs = {"flow_runs": {"name": {"any_": [f"{JOB} · {day}"]}}}
        run = wait_until(
            lambda: finished(api.post("flow_runs/filter", json=runs).json()), "the run's end"
        )
        assert run["state"]["name"] == "Published", run["state"]
        logs = {"logs": {"flow_run_id": {"any_": [run["id"]]}}}

        def find_lines() -> list[str]:
            lines = api.post("logs/filter", json=logs).json()
            return [line["message"] for line in lines if "shard 0:" in line["message"]]

        assert "actor" in wait_until(find_lines, "the log line of shard 0")[0]
        artifacts = api.post(
            "artifacts/filter", json={"flow_runs": {"id": {"any_": [run["id"]]}}}
        ).json()
        assert {artifact["type"] for artifact in artifacts} >= {"progress", "table", "markdown"}
    assert night.manifest(day)["counts"]["accepted"] == NUM_PRODUCTS


def test_a_trace_is_asked_for_with_a_setting_that_changes_no_row(night: Night) -> None:
    day = "2026-11-12"
    output = night.run("run", JOB, "--date", day, "--set", "trace_batches=1")
    assert "for https://ui.perfetto.dev" in output
    fingerprint = night.manifest(day)["fingerprint"]
    traces = [item.key for item in night.storage.list(f"work/{JOB}/dt={day}/{fingerprint}/traces/")]
    assert traces
    events = json.loads(gzip.decompress(night.storage.get(traces[0])))["traceEvents"]
    assert sum(event.get("name", "").startswith("ProfilerStep") for event in events) == 1
    assert "nothing changed since" in night.run("run", JOB, "--date", day)


def test_status_shows_what_is_at_work_and_when_the_next_night_starts(night: Night) -> None:
    day = "2026-11-13"
    run = night.start("run", JOB, "--date", day, *as_options(SLOWEST_SHARDS))

    def work() -> dict[str, Any]:
        return json.loads(night.run("status", "--json"))["work"]

    def progress() -> dict[str, Any] | None:
        for each in work()["runs"]:
            if each["name"] == f"{JOB} · {day}" and each["progress"]:
                return each
        return None

    found = wait_until(progress, "progress", run)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    assert "rows/s" in found["doing"]
    assert "s left" in found["doing"]
    scheduled = wait_until(
        lambda: {each["name"]: each["at"] for each in work()["scheduled"]}, "the scheduler"
    )
    assert scheduled["nightly"].partition(" ")[2].startswith("02:00:00")
    checks: dict[str, dict[str, str]] = {}

    def are_ok() -> bool:  # to the doctor, a server that is too busy to answer is down
        checks.update((check["name"], check) for check in json.loads(night.run("doctor", "--json")))
        return {check["state"] for name, check in checks.items() if name != "disk"} == {"ok"}

    wait_until(are_ok, "a healthy stack")
    assert checks["schedule"]["found"] == f"nightly starts next at {scheduled['nightly'][:16]} UTC"


def test_a_gate_holds_a_bad_model_back(night: Night) -> None:
    day = "2026-11-17"
    output = night.run(
        "train", JOB, "--date", DAY, *as_options("width=16 num_layers=1 num_heads=2 max_steps=1")
    )
    assert "stays a challenger" in output
    versions = json.loads(night.run("models", JOB, "--json"))["copywriter"]
    bad = next(version for version in versions["versions"] if version["metrics"]["steps"] == 1)
    output = night.run("run", JOB, "--date", day, "--model-policy", bad["version"], status=3)
    assert "passed_share is 0, the limit is 0.8" in output
    assert not list(night.storage.list(f"outputs/{JOB}/dt={day}/"))
    (state,) = json.loads(night.run("show", JOB, "--date", day, "--json"))
    assert (state["state"], state["reasons"]) == ("held", ["passed_share is 0, the limit is 0.8"])
    assert f"--date {day} --ignore-gates" in output
    output = night.run(
        "run", JOB, "--date", day, "--model-policy", bad["version"], "--ignore-gates"
    )
    assert "published all the same: passed_share is 0, the limit is 0.8" in output
    assert night.manifest(day)["breaches"] == ["passed_share is 0, the limit is 0.8"]


def test_forms_move_the_champion_and_refuse_what_is_wrong(night: Night) -> None:
    listed = json.loads(night.run("models", "copywriter", "--json"))["copywriter"]
    champion = listed["champion"]["version"]
    other = next(each["version"] for each in listed["versions"] if each["version"] != champion)
    promoted = ended_deployment(night, "promote", {"model": "copywriter", "version": other})
    assert promoted["type"] == "COMPLETED"
    refused = ended_deployment(night, "promote", {"model": "copywriter", "version": "v9"})
    assert "has no version 'v9'; there are" in refused["message"]
    assert ended_deployment(night, "rollback", {"model": "copywriter"})["type"] == "COMPLETED"
    listed = json.loads(night.run("models", "copywriter", "--json"))["copywriter"]
    assert (listed["champion"]["version"], listed["champion"]["previous"]) == (champion, other)
    with pytest.raises(httpx.HTTPStatusError, match=r"409|422"):
        start_deployment(night, "promote", {"model": "novelist", "version": other})


def test_resources_that_the_cluster_can_never_give_fail_at_once(night: Night) -> None:
    output = night.run("run", JOB, "--date", "2026-11-16", "--set", "num_gpus=1", status=1)
    assert "an actor needs 1 CPUs and 1 GPUs on one node" in output


def test_a_retraining_that_gets_no_node_leaves_the_night_to_the_champion(night: Night) -> None:
    day = "2026-12-02"
    models = json.loads(night.run("models", "copywriter", "--json"))
    champion = models["copywriter"]["champion"]["version"]
    promised = json.dumps([{"name": "gpu", "max_nodes": 1, "resources": {"CPU": 4, "GPU": 1}}])
    never = {"NIGHTSHIFT_NODE_GROUPS": promised, "NIGHTSHIFT_NODE_WAIT_S": "1"}
    output = Night(night.folder, night.environment | never).run("run", JOB, "--date", day)
    assert f"retraining copywriter failed, using {champion}: " in output
    assert "for nodes that did not come" in output
    assert night.manifest(day)["model"]["version"] == champion


def test_a_backfill_makes_the_missing_dates_only(night: Night) -> None:
    before = night.manifest(DAY)
    output = night.run("backfill", JOB, "--start", "2026-11-21", "--end", DAY)
    assert f"2026-11-21 {JOB}: published" in output
    assert f"{DAY} {JOB}: skipped  left alone: is up to date" in output
    assert night.manifest(DAY) == before


def test_changed_inputs_supersede_the_partition(night: Night) -> None:
    table = pq.read_table(night.folder / "products.parquet")
    pq.write_table(table.slice(0, 20), night.folder / "fewer.parquet")
    night.run("inputs", "put", "catalog", "fewer.parquet", "--replace")
    assert "20 rows published" in night.run("run", JOB, "--date", DAY)
    filesystem, root = filesystem_of(night.storage)
    rows = ds.dataset(f"{root}/outputs/{JOB}/dt={DAY}", filesystem=filesystem).to_table()
    assert rows.num_rows == 20
    night.run("inputs", "put", "catalog", "products.parquet", "--replace")
