from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from infra.parquet import encode
from infra.settings import Settings
from infra.storage import Storage, open_storage
from tests.unit.workers.test_plan import DAY, PIN
from workers.job import JobSettings
from workers.jobs import JOBS
from workers.plan import Plan, make_plan
from workers.rows import RowGroupReader, generate_rows
from workers.snapshot import take_snapshot
from workers.text_rows import TEXT_OUTPUT

JOB = JOBS["copywriting"]
POISON = "poison"


@dataclass
class Shouter:
    """A model small enough to see through: repeats the intent, rejects `reject`, breaks on `poison`."""

    calls: int = 0

    def text(self, intent: str) -> tuple[str, list[str]]:
        if intent == POISON:
            raise ValueError("this row cannot be done")
        return intent.upper(), ["too quiet"] if intent == "reject" else []


def shout(model: Shouter, batch: pa.Table, row_seeds: list[int], settings: JobSettings) -> pa.Table:
    model.calls += 1
    texts = [model.text(intent) for intent in batch["intent"].to_pylist()]
    ones = pa.array([1] * len(texts), pa.int32())
    columns = [
        pa.array([text for text, _ in texts]),
        pa.array([not problems for _, problems in texts]),
        pa.array([problems for _, problems in texts], pa.list_(pa.string())),
        pa.array([float(seed % 7) for seed in row_seeds]),
        ones,
        ones,
    ]
    fields = {field.name: column for field, column in zip(TEXT_OUTPUT, columns, strict=True)}
    return pa.table({"request_id": batch["request_id"], "intent": batch["intent"], **fields})


SHOUTING = replace(JOB, generate=shout)


def requests(intents: list[str]) -> pa.Table:
    return pa.table({"request_id": [f"r{number}" for number in range(len(intents))], "intent": intents})


def run(intents: list[str], **settings: Any) -> tuple[pa.Table, list[dict[str, Any]], Any]:
    result = generate_rows(SHOUTING, Shouter(), "v1", requests(intents), JobSettings(**settings), lambda done: None)
    return result.table(SHOUTING.schema), result.quarantine().to_pylist(), result


def test_every_row_appears_once_as_a_row_or_set_aside() -> None:
    intents = ["a", POISON, "b", "reject", "c", POISON, *["d"] * 40]
    rows, aside, result = run(intents, batch_rows=8)
    ids = rows["request_id"].to_pylist() + [row["row_id"] for row in aside]
    assert sorted(ids) == sorted(f"r{number}" for number in range(len(intents)))
    assert (result.num_rejected, result.num_quarantined) == (1, 2)


def test_a_poison_row_is_found_by_bisection_and_says_what_it_raised() -> None:
    _, aside, _ = run(["a"] * 7 + [POISON] + ["a"] * 8, batch_rows=16)
    (row,) = aside
    assert (row["row_id"], row["stage"], row["error"]) == ("r7", "generate", "this row cannot be done")
    assert "ValueError" in row["traceback"]


def test_a_rejected_row_keeps_its_reason_and_what_was_generated() -> None:
    rows, (row,), _ = run(["reject"])
    assert rows.num_rows == 0
    assert (row["stage"], row["error"]) == ("check", "too quiet")
    assert '"text": "REJECT"' in row["output"]


def test_rows_do_not_depend_on_the_batch_they_are_in() -> None:
    intents = [f"text {number}" for number in range(50)]
    assert run(intents, batch_rows=7)[0].equals(run(intents, batch_rows=50)[0])


def catalogue(storage: Storage, times: list[datetime | None]) -> Plan:
    table = pa.table(
        {
            "product_id": [f"p{number}" for number in range(len(times))],
            "attributes": pa.array(
                [[]] * len(times), pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())]))
            ),
            "updated_at": pa.array(times, pa.timestamp("us", "UTC")),
        }
    )
    storage.put("inputs/catalog/a.parquet", encode(table, table.schema, {}))
    job = JOBS["product_descriptions"]
    return make_plan(job, DAY, take_snapshot(storage, "catalog", DAY), PIN, job.parse_settings({"rows_per_shard": 2}))


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(Settings(storage_uri=f"file://{tmp_path}"))


def test_rows_from_the_future_are_left_out_and_counted(storage: Storage) -> None:
    last, first = datetime(2026, 11, 22, 23, 59, tzinfo=UTC), datetime(2026, 11, 23, tzinfo=UTC)
    plan = catalogue(storage, [last, first, None])
    reader = RowGroupReader(storage, plan, JOBS["product_descriptions"])
    found = [reader.read(plan.shard(index)) for index in range(plan.num_shards)]
    assert [(rows["product_id"].to_pylist(), future) for rows, future in found] == [(["p0"], 1), (["p2"], 0)]


def test_an_optional_column_that_is_not_there_is_null(storage: Storage) -> None:
    plan = catalogue(storage, [None])
    rows, _ = RowGroupReader(storage, plan, JOBS["product_descriptions"]).read(plan.shard(0))
    assert rows["title"].to_pylist() == [None]


def test_an_input_changed_after_planning_is_refused(storage: Storage) -> None:
    plan = catalogue(storage, [None, None])
    catalogue(storage, [None])
    with pytest.raises(Exception, match=r"inputs/catalog/a.parquet was changed since the run was planned"):
        RowGroupReader(storage, plan, JOBS["product_descriptions"]).read(plan.shard(0))
