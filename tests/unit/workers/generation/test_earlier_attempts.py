"""A plan that retries rows writes the same bytes with and without the files of earlier attempts."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from infra.settings import Settings
from infra.storage import Storage, open_storage
from infra.storage.parquet import encode
from tests.support.manifests import a_manifest, some_parts
from tests.unit.workers.generation.test_rows import MIXED, SHOUTING, Shouter
from tests.unit.workers.plans.test_plan import DAY, PIN
from workers.generation.earlier_attempts import EarlierAttempts
from workers.generation.rows import RowGenerator
from workers.generation.shard_reader import ShardReader
from workers.inputs.snapshot import take_snapshot
from workers.inputs.tables import ATTRIBUTES
from workers.partitions.manifest import manifest_key
from workers.partitions.parts import Receipt, part_key, quarantine_key, write_part
from workers.plans.plan import Plan
from workers.plans.planning import make_plan

NUM_SHARDS = 3


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(Settings(storage_uri=tmp_path.as_uri()))


def put_requests(storage: Storage, ids: list[str]) -> Plan:
    intents = (MIXED * NUM_SHARDS)[: len(ids)]
    table = pa.table(
        {"request_id": ids, "intent": intents, "attributes": pa.array([[]] * len(ids), ATTRIBUTES)},
    )
    storage.put("inputs/copy_requests/a.parquet", encode(table, table.schema, {}))
    settings = SHOUTING.parse_settings({"rows_per_shard": len(MIXED), "batch_rows": 4})
    return make_plan(SHOUTING, DAY, take_snapshot(storage, "copy_requests", DAY), PIN, settings)


@pytest.fixture
def plan(storage: Storage) -> Plan:
    return put_requests(storage, [f"r{number}" for number in range(len(MIXED) * NUM_SHARDS)])


def with_attempts(plan: Plan, attempts: int) -> Plan:
    return replace(plan, attempts=attempts)


def generate(storage: Storage, plan: Plan) -> tuple[list[Receipt], int]:
    """Returns the receipts of all shards and the number of rows that the model generated."""
    model = Shouter()
    reader, earlier = ShardReader(storage, plan, SHOUTING), EarlierAttempts(storage, plan, SHOUTING)
    generator = RowGenerator(SHOUTING, model, "v1", SHOUTING.parse_settings(plan.settings))
    receipts = []
    for index in range(plan.num_shards):
        rows, _ = reader.read(plan.shard(index))
        result = earlier.find(index, rows)
        generator.complete(result, rows, plan.attempts, lambda done: None)
        receipt = Receipt(
            shard=index,
            fingerprint=plan.fingerprint,
            input_rows=rows.num_rows,
            accepted=result.table().num_rows,
            rejected=result.num_rejected,
            quarantined=result.num_quarantined,
            future=0,
        )
        receipts.append(write_part(storage, plan, receipt, result.table(), result.quarantine()))
    return receipts, sum(model.batches)


def files(storage: Storage, plan: Plan) -> dict[str, bytes]:
    return {item.key: storage.get(item.key) for item in storage.list(plan.prefix)}


def from_nothing(storage: Storage, plan: Plan) -> dict[str, bytes]:
    """The files of the plan, generated without any earlier attempt."""
    storage.delete([item.key for item in [*storage.list("work/"), *storage.list("outputs/")]])
    generate(storage, plan)
    return files(storage, plan)


def test_only_what_was_set_aside_is_generated_again_to_the_same_bytes(
    storage: Storage, plan: Plan
) -> None:
    first, _ = generate(storage, plan)
    second, num_tried = generate(storage, with_attempts(plan, 2))
    # a poison row costs several tries: its batch is bisected
    assert num_tried < sum(receipt.rejected + receipt.quarantined for receipt in first) * 2
    assert sum(receipt.accepted for receipt in second) > sum(receipt.accepted for receipt in first)
    made = files(storage, with_attempts(plan, 2))
    assert any("quarantine" in key for key in made)
    assert made == from_nothing(storage, with_attempts(plan, 2))


def test_earlier_attempts_are_found_where_they_were_published(storage: Storage, plan: Plan) -> None:
    receipts, num_all = generate(storage, plan)
    keys = [f"outputs/published-{receipt.shard}.parquet" for receipt in receipts]
    for receipt, key in zip(receipts, keys, strict=True):
        storage.copy(part_key(plan, receipt.shard), key)
        storage.delete([part_key(plan, receipt.shard)])
    manifest = a_manifest(fingerprint=plan.fingerprint, parts=some_parts(*keys))
    storage.put(manifest_key(plan.job, plan.date), manifest.to_json().encode())
    _, num_tried = generate(storage, with_attempts(plan, 2))
    made = files(storage, with_attempts(plan, 2))
    assert num_tried < num_all
    assert made == from_nothing(storage, with_attempts(plan, 2))


def test_a_plan_that_was_never_finished_is_skipped_for_the_one_before_it(
    storage: Storage, plan: Plan
) -> None:
    generate(storage, plan)
    _, num_tried = generate(storage, with_attempts(plan, 3))
    made = files(storage, with_attempts(plan, 3))
    _, num_all = generate(storage, replace(plan, attempts=3, date="2026-01-01"))
    assert num_tried < num_all
    assert made == from_nothing(storage, with_attempts(plan, 3))


def test_without_its_quarantine_file_a_shard_is_generated_from_the_start(
    storage: Storage, plan: Plan
) -> None:
    generate(storage, plan)
    storage.delete([quarantine_key(plan, shard) for shard in range(NUM_SHARDS)])
    generate(storage, with_attempts(plan, 2))
    made = files(storage, with_attempts(plan, 2))
    assert made == from_nothing(storage, with_attempts(plan, 2))


def test_a_shard_with_duplicate_ids_is_generated_from_the_start(storage: Storage) -> None:
    plan = put_requests(storage, [f"r{number // 2}" for number in range(len(MIXED))])
    generate(storage, plan)
    receipts, _ = generate(storage, with_attempts(plan, 2))
    made = files(storage, with_attempts(plan, 2))
    assert sum(receipt.input_rows for receipt in receipts) == len(MIXED)
    assert made == from_nothing(storage, with_attempts(plan, 2))
