"""A row that raises: another program wrote a file into the store with a row without attributes."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tests.support.night import JOB, NUM_PRODUCTS, Night
from tests.support.reader import filesystem_of
from workers.inputs.tables import ATTRIBUTES

pytestmark = pytest.mark.timeout(600)
DAY = "2026-08-01"
POISON = "poison"
FOREIGN = "inputs/catalog/foreign.parquet"


@pytest.fixture
def poisoned(night: Night) -> Iterator[Night]:
    schema = pa.schema([("product_id", pa.string()), ("attributes", ATTRIBUTES)])
    good = pq.read_table(night.folder / "products.parquet").to_pylist()[:3]
    rows = [
        {"product_id": f"foreign-{n}", "attributes": row["attributes"]}
        for n, row in enumerate(good)
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.Table.from_pylist([*rows, {"product_id": POISON, "attributes": None}], schema), sink
    )
    night.storage.put(FOREIGN, sink.getvalue().to_pybytes())
    yield night
    night.storage.delete([FOREIGN])


def test_a_row_that_raises_costs_only_itself_and_can_be_retried(poisoned: Night) -> None:
    night = poisoned
    output = night.run("run", JOB, "--date", DAY, status=1)
    # How many rows are done depends on which shards finished first.
    assert re.search(r"1 of \d+ rows raised, more than the error budget of 1\.0%", output), output
    assert "--retry-quarantined" in output
    (state,) = json.loads(night.run("show", JOB, "--date", DAY, "--json"))
    assert state["state"] == "failed"

    generous = ("run", JOB, "--date", DAY, "--set", "error_budget=0.05")
    assert "1 quarantined" in night.run(*generous)
    first = night.manifest(DAY)
    counts = first["counts"]
    assert counts["quarantined"] == 1
    assert (
        counts["accepted"] + counts["rejected"] + counts["quarantined"]
        == counts["input_rows"]
        == NUM_PRODUCTS + 4
    )
    assert [(row["row_id"], row["attempts"]) for row in quarantined(night, first, "generate")] == [
        (POISON, 1)
    ]

    kept = published_rows(night)
    assert "1 quarantined" in night.run(*generous, "--retry-quarantined")
    second = night.manifest(DAY)
    assert second["attempts"] == 2
    assert [(row["row_id"], row["attempts"]) for row in quarantined(night, second, "generate")] == [
        (POISON, 2)
    ]
    assert kept.items() <= published_rows(night).items()
    assert "nothing changed since" in night.run(*generous)


def quarantined(night: Night, manifest: dict[str, Any], stage: str) -> list[dict[str, Any]]:
    prefix = f"work/{JOB}/dt={DAY}/{manifest['fingerprint']}/quarantine-"
    filesystem, root = filesystem_of(night.storage)
    tables = [
        pq.read_table(f"{root}/{item.key}", filesystem=filesystem)
        for item in night.storage.list(prefix)
    ]
    return [row for row in pa.concat_tables(tables).to_pylist() if row["stage"] == stage]


def published_rows(night: Night) -> dict[str, dict[str, Any]]:
    filesystem, root = filesystem_of(night.storage)
    rows = (
        ds.dataset(f"{root}/outputs/{JOB}/dt={DAY}", filesystem=filesystem).to_table().to_pylist()
    )
    assert len({row["product_id"] for row in rows}) == len(rows)
    return {row["product_id"]: row for row in rows}
