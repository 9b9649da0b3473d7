from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa

from infra.settings import Settings
from infra.storage import open_storage
from infra.storage.parquet import encode
from workers.inputs.catalog import Catalog, read_catalog
from workers.inputs.snapshot import take_snapshot
from workers.inputs.tables import ATTRIBUTES, TIMESTAMP

DAY = date(2026, 11, 22)
FACTS = [{"key": "colour", "value": "red"}]


def catalog(folder: Path, *tables: pa.Table) -> Catalog:
    storage = open_storage(Settings(storage_uri=folder.as_uri()))
    for number, table in enumerate(tables):
        storage.put(f"inputs/catalog/{number}.parquet", encode(table, table.schema, {}))
    return read_catalog(storage, take_snapshot(storage, "catalog", DAY))


def test_products_of_later_days_are_missing_and_products_without_a_time_are_not(
    tmp_path: Path,
) -> None:
    times = [None, datetime(2026, 11, 22, 23, tzinfo=UTC), datetime(2026, 11, 23, tzinfo=UTC)]
    dated = pa.table(
        {
            "product_id": ["a", "b", "c"],
            "title": ["A", None, "C"],
            "attributes": pa.array([FACTS] * 3, ATTRIBUTES),
            "updated_at": pa.array(times, TIMESTAMP),
        }
    )
    undated = pa.table(
        {"product_id": ["d"], "attributes": pa.array([FACTS], ATTRIBUTES), "category": ["shoes"]}
    )
    found = catalog(tmp_path, dated, undated)
    assert found.table["product_id"].to_pylist() == ["a", "b", "d"]
    assert found.rows(["d", "a"])["title"].to_pylist() == [None, "A"]
    assert found.facts["d"] == {("colour", "red"), ("category", "shoes")}


def test_unchecked_rows_are_read_unless_they_have_no_id(tmp_path: Path) -> None:
    unfinished = [{"key": "size", "value": None}, {"key": None, "value": "M"}, None, *FACTS]
    columns = {
        "product_id": ["a", None, "c"],
        "attributes": pa.array([None, FACTS, unfinished], ATTRIBUTES),
    }
    found = catalog(tmp_path, pa.table(columns))
    assert found.table["product_id"].to_pylist() == ["a", "c"]
    assert found.table["attributes"][0].as_py() == []
    assert found.facts == {"a": frozenset(), "c": {("colour", "red")}}


def test_a_catalogue_of_the_future_alone_is_empty(tmp_path: Path) -> None:
    times = pa.array([datetime(2026, 12, 1, tzinfo=UTC)], TIMESTAMP)
    columns = {
        "product_id": ["a"],
        "attributes": pa.array([FACTS], ATTRIBUTES),
        "updated_at": times,
    }
    assert catalog(tmp_path, pa.table(columns)).table.num_rows == 0
