from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from flows.dates import (
    DateStatus,
    Mode,
    examine_dates,
    newest_manifests,
    parse_range,
    table_rows,
    totals,
)
from infra.errors import InputError
from infra.settings import Settings
from infra.storage import Storage, open_storage
from infra.storage.parquet import encode
from tests.unit.workers.partitions.test_publish import run, write_shard
from tests.unit.workers.registry.test_versions import add_version
from workers.inputs.snapshot import read_inputs
from workers.inputs.tables import ATTRIBUTES
from workers.jobs import JOBS
from workers.partitions.states import list_partitions, record_outcome
from workers.plans.plan import Plan
from workers.plans.planning import make_plan
from workers.registry.versions import promote, read_versions

JOB = JOBS["product_descriptions"]
DAYS = ["2026-11-20", "2026-11-21", "2026-11-22"]
SMALL = {"rows_per_shard": 20}
CATALOG = pa.schema([("product_id", pa.string()), ("attributes", ATTRIBUTES)])


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """A store with a loaded catalogue of 40 products and a champion that is new enough for all
    dates."""
    storage = open_storage(Settings(storage_uri=f"file://{tmp_path}/store"))
    load(storage, 40)
    champion = add_version(storage, tmp_path, "2026-11-22")
    promote(storage, champion.name, champion.version, "test")
    return storage


def load(storage: Storage, num_rows: int) -> None:
    rows = [
        {"product_id": f"p{n}", "attributes": [{"key": "name", "value": f"Larch {n}"}]}
        for n in range(num_rows)
    ]
    storage.put(
        "inputs/catalog/products.parquet", encode(pa.Table.from_pylist(rows, CATALOG), CATALOG, {})
    )


def plan_for(storage: Storage, day: str, **settings: object) -> Plan:
    model = read_versions(storage, JOB.model).choose("champion", day)
    assert model is not None
    snapshot = read_inputs(storage, JOB.table).snapshot(date.fromisoformat(day))
    return make_plan(
        JOB, date.fromisoformat(day), snapshot, model.pin, JOB.parse_settings(SMALL | settings)
    )


def examine(
    storage: Storage, mode: Mode = "missing", policy: str = "champion", **settings: object
) -> list[DateStatus]:
    return examine_dates(storage, JOB, DAYS, mode, policy, JOB.parse_settings(SMALL | settings))


def due(storage: Storage, mode: Mode) -> list[str]:
    return [item.date for item in examine(storage, mode) if item.is_due]


def test_a_range_includes_both_ends_in_the_requested_order() -> None:
    assert parse_range("2026-02-27", "2026-03-01") == ["2026-02-27", "2026-02-28", "2026-03-01"]
    assert parse_range("2026-02-27", "2026-03-01", "newest") == [
        "2026-03-01",
        "2026-02-28",
        "2026-02-27",
    ]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("2026-11-02", "2026-11-01", "ends .* before it starts"),
        ("", "2026-11-01", "needs a first and a last date"),
        ("2006-11-01", "2026-11-01", "longer than ten years"),
        ("2026-11-31", "2026-12-01", "'2026-11-31' is not a date"),
    ],
)
def test_impossible_ranges_are_refused(start: str, end: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        parse_range(start, end)


def test_modes_choose_missing_failed_and_published_dates(storage: Storage) -> None:
    run(storage, plan_for(storage, DAYS[0]))
    failed = plan_for(storage, DAYS[1])
    failed.store(storage)
    record_outcome(storage, failed, "failed", ["shard 3 failed"])
    chosen = {mode: due(storage, mode) for mode in ("missing", "failed", "stale", "all")}
    assert chosen == {"missing": DAYS[1:], "failed": [DAYS[1]], "stale": [], "all": DAYS}
    assert [item.state for item in examine(storage)] == ["published", "failed", "missing"]
    assert [item.why for item in examine(storage)] == [
        "is up to date",
        "shard 3 failed",
        "was never run",
    ]


def test_a_partition_with_missing_parts_is_damaged_and_due(storage: Storage) -> None:
    run(storage, plan_for(storage, DAYS[0]))
    part = next(item.key for item in storage.list(f"outputs/{JOB.name}/dt={DAYS[0]}/part-"))
    storage.delete([part])
    assert examine(storage)[0].state == "damaged"
    assert DAYS[0] in due(storage, "missing")
    assert due(storage, "failed") == [DAYS[0]]


def test_inputs_settings_and_model_make_stale_and_are_named(
    storage: Storage, tmp_path: Path
) -> None:
    for day in DAYS:
        run(storage, plan_for(storage, day))
    assert due(storage, "stale") == []
    assert due(storage, "missing") == []
    (other,) = {item.why for item in examine(storage, seed=7)}
    assert other == "the settings (seed) changed since"
    better = add_version(storage, tmp_path, "2026-11-22", bleu=0.9)
    promote(storage, better.name, better.version, "test")
    load(storage, 60)
    assert due(storage, "stale") == DAYS
    assert due(storage, "missing") == []
    why = examine(storage, "stale")[0].why
    assert "the inputs and the model" in why
    assert better.version in why


def test_a_raised_error_budget_makes_no_date_stale(storage: Storage) -> None:
    run(storage, plan_for(storage, DAYS[0]))
    assert not [item for item in examine(storage, "stale", error_budget=0.5) if item.is_due]


def test_a_date_whose_model_would_be_trained_first_is_stale(
    storage: Storage, tmp_path: Path
) -> None:
    old = add_version(storage, tmp_path, "2026-11-01")
    promote(storage, old.name, old.version, "test")
    storage.delete([item.key for item in storage.list(f"models/{old.name}/2026-11-22")])
    run(storage, plan_for(storage, DAYS[0]))
    status = examine(storage, "stale")[0]
    assert (status.state, status.is_due) == ("stale", True)
    assert status.why.endswith("a model is trained first")


def test_as_of_ignores_models_from_after_the_date(storage: Storage, tmp_path: Path) -> None:
    run(storage, plan_for(storage, DAYS[0]))
    assert examine(storage, policy="as-of")[0].state == "stale"
    add_version(storage, tmp_path, DAYS[1])
    found = examine(storage, policy="as-of")
    assert ["trained first" in item.why for item in found if item.is_due] == [False, False]


def test_a_replacement_that_was_interrupted_is_failed_and_still_stale(storage: Storage) -> None:
    run(storage, plan_for(storage, DAYS[0]))
    load(storage, 60)
    plan = plan_for(storage, DAYS[0])
    plan.store(storage)
    write_shard(storage, plan, 0)
    status = examine(storage, "failed")[0]
    assert (status.state, status.shards_done, status.shards) == ("unfinished", 1, 3)
    assert "the rows published before are kept" in status.why
    assert due(storage, "stale") == [DAYS[0]]
    assert due(storage, "missing") == DAYS[1:]


def test_a_failure_from_before_the_partition_was_published_is_over(storage: Storage) -> None:
    failed = plan_for(storage, DAYS[0], seed=1)
    failed.store(storage)
    record_outcome(storage, failed, "failed", ["the store was away"])
    outcome = f"{failed.prefix}outcome.json"
    storage.put(outcome, storage.get(outcome).replace(b"20", b"19", 1))  # a hundred years ago
    run(storage, plan_for(storage, DAYS[0]))
    assert due(storage, "failed") == []


def test_the_estimate_follows_past_manifests_and_what_is_left(storage: Storage) -> None:
    assert totals(examine(storage)).endswith("estimated time unknown")
    run(storage, plan_for(storage, DAYS[0]))  # 40 rows in 3.0 s
    (timed,) = newest_manifests(list_partitions(storage, JOB.name))
    assert timed.seconds == pytest.approx(3.0)
    begun = plan_for(storage, DAYS[1])
    begun.store(storage)
    write_shard(storage, begun, 0)
    found = examine(storage)
    assert [item.seconds for item in found] == pytest.approx([3.0, 1.5, 3.0])
    assert totals(found) == "2 of 3 dates to make: 80 rows, 3 shards, estimated time 0:00:04"
    assert [row["to do"] for row in table_rows(found)] == ["leave alone", "make", "make"]
    assert table_rows(found)[1]["shards"] == "1 of 2 are done"


def test_a_version_that_does_not_exist_is_refused_before_anything_runs(storage: Storage) -> None:
    with pytest.raises(InputError, match="has no version 'v9'"):
        examine(storage, policy="v9")


def test_another_version_of_the_job_is_named(storage: Storage) -> None:
    run(storage, replace(plan_for(storage, DAYS[0]), job_version=JOB.version + 1))
    assert examine(storage, "stale")[0].why == "the job's code changed since"
