"""Backfills on the real stack: dry runs, resuming, and partitions that do not see later rows."""

import json
import os
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.night import (
    JOB,
    NUM_PRODUCTS,
    SLOWEST_SHARDS,
    SMALL_MODEL,
    Night,
    as_options,
    wait_until,
)

pytestmark = pytest.mark.timeout(900)
VERY_SLOWLY = as_options(SLOWEST_SHARDS)
"""The actor of the second date may take ten seconds to start, before the first date is done."""
NOBODY = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "NIGHTSHIFT_RAY_ADDRESS": "127.0.0.1:9"}


def backfill(night: Night, start: str, end: str, *words: str, status: int = 0) -> str:
    return night.run("backfill", JOB, "--start", start, "--end", end, *words, status=status)


def dry_run(night: Night, start: str, end: str, *words: str) -> list[dict[str, Any]]:
    return json.loads(backfill(night, start, end, "--dry-run", "--json", *words))


def test_a_dry_run_needs_no_server_and_writes_nothing(night: Night) -> None:
    before = {item.key: item.etag for item in night.storage.list("")}
    alone = Night(night.folder, night.environment | NOBODY)
    output = backfill(alone, "2026-10-08", "2026-10-10", "--dry-run")
    assert f"3 of 3 dates to make: {3 * NUM_PRODUCTS} rows, 3 shards, estimated time" in output
    found = dry_run(
        alone, "2026-10-08", "2026-10-10", "--order", "newest", "--set", "rows_per_shard=30"
    )
    assert [(item["date"][-2:], item["state"], item["shards"]) for item in found] == [
        ("10", "missing", 2),
        ("09", "missing", 2),
        ("08", "missing", 2),
    ]
    assert {item.key: item.etag for item in night.storage.list("")} == before
    assert "is not one of oldest, newest" in backfill(
        alone, "2026-10-08", "2026-10-10", "--order", "random", status=2
    )


def test_a_killed_backfill_of_two_dates_at_once_is_finished_by_the_next(night: Night) -> None:
    days = [f"2026-10-{day}" for day in (11, 12, 13)]
    victim = night.start(
        "backfill", JOB, "--start", days[0], "--end", days[2], "--max-parallel", "2", *VERY_SLOWLY
    )
    wait_until(lambda: all(map(night.num_parts, days[:2])), "work on two dates at once", victim)
    os.killpg(victim.pid, 9)
    victim.communicate()
    found = dry_run(night, days[0], days[2], *VERY_SLOWLY)
    unfinished = [item for item in found if item["state"] == "unfinished"]
    assert len(unfinished) == 2
    assert all(item["is_due"] and item["shards_done"] for item in unfinished)
    output = backfill(night, days[0], days[2], "--order", "newest", *VERY_SLOWLY)
    assert "shards are already written" in output
    assert output.index(f"{days[2]} {JOB}: published") < output.index(f"{days[0]} {JOB}: published")
    for day in days:
        assert night.manifest(day)["counts"]["input_rows"] == NUM_PRODUCTS
    output = backfill(night, days[0], days[2], *VERY_SLOWLY)
    assert output.count("left alone: is up to date") >= 3


def test_each_date_is_a_run_and_the_summary_lists_every_date(night: Night) -> None:
    days = ["2026-10-14", "2026-10-15"]
    night.run("run", JOB, "--date", days[0])
    output = backfill(night, *days, "--num-actors", "1")
    run_id = output.rsplit("/runs/flow-run/", 1)[1].split()[0]
    with night.api as api:
        names = {"flow_runs": {"name": {"any_": [f"{JOB} · {days[1]}"]}}}
        (run,) = api.post("flow_runs/filter", json=names).json()
        assert (run["parameters"]["background"], run["parameters"]["num_actors"]) == (True, 1)
        artifacts = api.post(
            "artifacts/filter", json={"flow_runs": {"id": {"any_": [run_id]}}}
        ).json()
    by_key = {artifact["key"]: artifact for artifact in artifacts}
    rows = {row["date"]: row["outcome"] for row in json.loads(by_key["backfill-summary"]["data"])}
    assert rows == {days[0]: "skipped", days[1]: "published"}
    assert "1 of 1 dates" in by_key["backfill-progress"]["description"]


def catalogue(night: Night, name: str, first: int, times: list[datetime]) -> str:
    """Writes a file of the sample products from `first`, one for each of `times`, changed then."""
    table = pq.read_table(night.folder / "products.parquet").slice(first, len(times))
    column = pa.array(times, pa.timestamp("us", "UTC"))
    pq.write_table(table.append_column("updated_at", column), night.folder / name)
    return name


def test_the_past_is_made_without_what_came_later(night: Night) -> None:
    days = ["2026-10-20", "2026-10-21", "2026-10-22"]
    noon = datetime(2026, 10, 21, 12, tzinfo=UTC)
    mixed = catalogue(night, "mixed.parquet", 0, [noon] * 30 + [noon + timedelta(days=5)] * 15)
    future = catalogue(night, "future.parquet", 45, [noon + timedelta(days=9)] * 15)
    night.run("train", JOB, "--date", "2026-10-18", *SMALL_MODEL)
    night.run("inputs", "put", "catalog", mixed, "--replace")
    try:
        output = backfill(night, days[0], days[2], "--model-policy", "as-of", status=3)
        assert f"{days[0]} {JOB}: held  every row of catalog is from after {days[0]}" in output
        before = {day: night.manifest(day) for day in days[1:]}
        for manifest in before.values():
            assert (manifest["counts"]["input_rows"], manifest["counts"]["future"]) == (30, 15)
            assert manifest["model"]["through"] == "2026-10-18"
        night.run("inputs", "put", "catalog", future)
        output = backfill(night, days[0], days[2], "--mode", "stale", "--model-policy", "as-of")
        assert output.count("left alone: is up to date") >= 2
        assert {day: night.manifest(day) for day in days[1:]} == before
        assert "unchanged" in backfill(
            night, days[1], days[1], "--mode", "all", "--model-policy", "as-of"
        )
        assert night.manifest(days[1]) == before[days[1]]
    finally:
        night.run("inputs", "put", "catalog", "products.parquet", "--replace")
    (found,) = dry_run(night, days[1], days[1], "--mode", "stale", "--model-policy", "as-of")
    assert (found["state"], found["why"]) == ("stale", "the inputs changed since")
    backfill(night, days[1], days[1], "--mode", "stale", "--model-policy", "as-of")
    assert night.manifest(days[1])["counts"]["input_rows"] == NUM_PRODUCTS


def test_nights_that_downtime_missed_run_one_after_the_other_each_for_its_own_day(
    night: Night,
) -> None:
    days = ["2026-09-01", "2026-09-02", "2026-09-03"]
    with night.api as api:
        deployment = api.get("deployments/name/nightly/nightly").json()["id"]

        def missed(day: str) -> str:
            start = datetime.fromisoformat(f"{day}T02:00:00+00:00") + timedelta(days=1)
            state = {"type": "SCHEDULED", "state_details": {"scheduled_time": start.isoformat()}}
            answer = api.post(f"deployments/{deployment}/create_flow_run", json={"state": state})
            return answer.raise_for_status().json()["id"]

        ids = [missed(day) for day in days]

        def runs() -> list[dict[str, Any]]:
            return [api.get(f"flow_runs/{run_id}").json() for run_id in ids]

        for number in range(1, len(days) + 1):  # one after the other
            wait_until(
                lambda number=number: sum(bool(run["end_time"]) for run in runs()) >= number,
                "a late night",
            )
        ended = runs()
    assert [run["state"]["type"] for run in ended] == ["COMPLETED"] * 3
    assert sorted(run["name"] for run in ended) == [f"nightly · {day}" for day in days]
    times = sorted((run["start_time"], run["end_time"]) for run in ended)
    assert all(end <= start for (_, end), (start, _) in pairwise(times)), "no two at once"
    assert [night.manifest(day)["counts"]["input_rows"] for day in days] == [NUM_PRODUCTS] * 3
