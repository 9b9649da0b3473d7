from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from infra.settings import Settings
from infra.storage import Storage, open_storage
from infra.storage.parquet import encode
from tests.unit.workers.plans.test_plan import DAY, PIN, plan_of
from workers.generation.shard_reader import ShardReader
from workers.inputs.snapshot import take_snapshot
from workers.jobs import JOBS
from workers.pins import Order
from workers.plans.plan import Plan
from workers.plans.planning import make_plan


def catalogue(storage: Storage, times: list[datetime | None]) -> Plan:
    table = pa.table(
        {
            "product_id": [f"p{number}" for number in range(len(times))],
            "attributes": pa.array(
                [[]] * len(times),
                pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())])),
            ),
            "updated_at": pa.array(times, pa.timestamp("us", "UTC")),
        }
    )
    storage.put("inputs/catalog/a.parquet", encode(table, table.schema, {}))
    job = JOBS["product_descriptions"]
    return make_plan(
        job,
        DAY,
        take_snapshot(storage, "catalog", DAY),
        PIN,
        job.parse_settings({"rows_per_shard": 2}),
    )


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(Settings(storage_uri=f"file://{tmp_path}"))


def test_rows_from_the_future_are_left_out_and_counted(storage: Storage) -> None:
    last, first = datetime(2026, 11, 22, 23, 59, tzinfo=UTC), datetime(2026, 11, 23, tzinfo=UTC)
    plan = catalogue(storage, [last, first, None])
    reader = ShardReader(storage, plan, JOBS["product_descriptions"])
    found = [reader.read(plan.shard(index)) for index in range(plan.num_shards)]
    assert [(rows["product_id"].to_pylist(), future) for rows, future in found] == [
        (["p0"], 1),
        (["p2"], 0),
    ]


def test_a_missing_optional_column_is_null(storage: Storage) -> None:
    plan = catalogue(storage, [None])
    rows, _ = ShardReader(storage, plan, JOBS["product_descriptions"]).read(plan.shard(0))
    assert rows["title"].to_pylist() == [None]


def test_an_input_changed_after_planning_is_refused(storage: Storage) -> None:
    plan = catalogue(storage, [None, None])
    catalogue(storage, [None])
    with pytest.raises(
        Exception, match=r"inputs/catalog/a.parquet was changed since the run was planned"
    ):
        ShardReader(storage, plan, JOBS["product_descriptions"]).read(plan.shard(0))


def test_ordered_rows_have_unique_ids_of_their_date_and_class(storage: Storage) -> None:
    plan = replace(plan_of((1,), rows_per_shard=3), orders=(Order(0, "cat", 4), Order(7, "dog", 2)))
    reader = ShardReader(storage, plan, JOBS["product_images"])
    found = [reader.read(plan.shard(index))[0].to_pylist() for index in range(plan.num_shards)]
    assert [[row["image_id"] for row in rows] for rows in found] == [
        ["2026-11-22-0-000000", "2026-11-22-0-000001", "2026-11-22-0-000002"],
        ["2026-11-22-0-000003"],
        ["2026-11-22-7-000000", "2026-11-22-7-000001"],
    ]
    assert found[2][0]["label"] == 7
    assert found[2][0]["label_name"] == "dog"
