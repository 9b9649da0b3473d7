import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from infra.errors import GenerationError, PreconditionFailed
from infra.settings import Settings
from infra.storage import Storage, open_storage
from tests.unit.workers.test_plan import plan_of
from workers.part import QUARANTINE, Receipt, list_parts, part_key, read_receipt, read_receipts, write_part
from workers.partition import list_partitions, record_outcome
from workers.plan import Plan
from workers.publish import clean_up, is_whole, make_manifest, publish, read_published

QUALITY = {"passed_share": 1.0, "duplicate_share": 0.0, "distinct_2": 0.5, "mean_length": 9.0}


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(Settings(storage_uri=f"file://{tmp_path}"))


def a_plan(**settings: Any) -> Plan:
    return plan_of((40,), rows_per_shard=20, **settings)


def write_shard(storage: Storage, plan: Plan, shard: int, text: str = "a") -> Receipt:
    rows = pa.table({"product_id": [f"p{shard}-{number}" for number in range(20)], "text": [text] * 20})
    receipt = Receipt(
        shard=shard,
        fingerprint=plan.fingerprint,
        input_rows=20,
        accepted=20,
        rejected=0,
        quarantined=0,
        future=0,
        seconds=1.5,
    )
    return write_part(storage, plan, receipt, rows, QUARANTINE.empty_table())


def write_all(storage: Storage, plan: Plan) -> tuple[list[Receipt], dict[str, Any]]:
    plan.store(storage)
    receipts = [write_shard(storage, plan, shard) for shard in range(plan.num_shards)]
    return receipts, make_manifest(plan, receipts, QUALITY, 3.0, "run")


def published_parts(storage: Storage) -> list[str]:
    return [item.key.rsplit("/", 1)[1] for item in storage.list("outputs/") if item.key.endswith(".parquet")]


def test_a_receipt_survives_in_metadata_and_can_be_rebuilt_from_the_file(storage: Storage, tmp_path: Path) -> None:
    plan = a_plan()
    receipt = write_shard(storage, plan, 0)
    assert read_receipt(storage, part_key(plan, 0)) == receipt
    copy = open_storage(Settings(storage_uri=f"file://{tmp_path}/copy"))
    copy.put(part_key(plan, 0), storage.get(part_key(plan, 0)))
    assert read_receipt(copy, part_key(plan, 0)) == replace(receipt, seconds=0.0)


def test_receipts_that_lose_rows_cannot_be_made() -> None:
    with pytest.raises(GenerationError, match="rows were lost or made up"):
        Receipt(shard=0, fingerprint="f", input_rows=3, accepted=1, rejected=1, quarantined=0, future=0)


def test_a_part_written_twice_is_one_part_if_the_bytes_agree(storage: Storage) -> None:
    plan = a_plan()
    assert write_shard(storage, plan, 1) == write_shard(storage, plan, 1)
    assert list(list_parts(storage, plan.prefix)) == [1]


def test_a_late_write_of_other_bytes_is_refused_and_changes_nothing(storage: Storage) -> None:
    plan = a_plan()
    first = write_shard(storage, plan, 1)
    with pytest.raises(GenerationError, match="already written with other bytes"):
        write_shard(storage, plan, 1, text="b")
    assert read_receipts(storage, [part_key(plan, 1)]) == [first]


def test_publishing_moves_the_parts_and_leaves_no_work_parts(storage: Storage) -> None:
    plan = a_plan()
    receipts, manifest = write_all(storage, plan)
    assert publish(storage, plan, receipts, manifest)
    published = read_published(storage, plan.job, plan.date)
    assert published is not None
    assert is_whole(storage, published)
    assert published.manifest["counts"]["accepted"] == 40
    assert list_parts(storage, plan.prefix) == {}


def test_publishing_the_same_plan_again_is_no_news(storage: Storage) -> None:
    plan = a_plan()
    receipts, manifest = write_all(storage, plan)
    publish(storage, plan, receipts, manifest)
    before = published_parts(storage)
    assert not publish(storage, plan, receipts, manifest | {"run": "another"})
    assert published_parts(storage) == before


def test_a_new_plan_supersedes_the_parts_of_the_old_one(storage: Storage) -> None:
    old, new = a_plan(), a_plan(seed=1)
    publish(storage, old, *write_all(storage, old))
    publish(storage, new, *write_all(storage, new))
    assert published_parts(storage) == [f"part-{shard:06d}-{new.fingerprint[:8]}.parquet" for shard in range(2)]


def test_a_publisher_that_died_after_the_swap_is_cleaned_up_after(storage: Storage) -> None:
    old, new = a_plan(), a_plan(seed=1)
    publish(storage, old, *write_all(storage, old))
    kept = {item.key: storage.get(item.key) for item in storage.list("outputs/") if item.key.endswith(".parquet")}
    publish(storage, new, *write_all(storage, new))
    for key, data in kept.items():
        storage.put(key, data)
    assert len(published_parts(storage)) == 4
    assert clean_up(storage, new.job, new.date) == 2
    assert all(new.fingerprint[:8] in name for name in published_parts(storage))


def test_of_two_publishers_of_different_plans_the_late_one_is_told(storage: Storage) -> None:
    first, second = a_plan(), a_plan(seed=1)
    receipts, manifest = write_all(storage, second)
    interloper = _PublishesMeanwhile(storage, first)
    with pytest.raises(PreconditionFailed, match="published by another run with other inputs or settings"):
        publish(interloper, second, receipts, manifest)  # type: ignore[arg-type]
    published = read_published(storage, first.job, first.date)
    assert published is not None
    assert published.fingerprint == first.fingerprint
    assert all(first.fingerprint[:8] in name for name in published_parts(storage))


class _PublishesMeanwhile:
    """The real store, on which another run publishes `plan` just before our manifest is put."""

    def __init__(self, storage: Storage, plan: Plan) -> None:
        self._storage, self._plan = storage, plan

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def put(self, key: str, data: bytes, **options: Any) -> str:
        if key.endswith("_SUCCESS"):
            publish(self._storage, self._plan, *write_all(self._storage, self._plan))
        return self._storage.put(key, data, **options)


def test_a_manifest_needs_every_shard_and_every_row(storage: Storage) -> None:
    plan = a_plan()
    receipts, _ = write_all(storage, plan)
    with pytest.raises(GenerationError, match="1 receipts for 2 shards"):
        make_manifest(plan, receipts[:1], QUALITY, 1.0, "run")
    short = replace(receipts[1], input_rows=19, accepted=19)
    with pytest.raises(GenerationError, match="the inputs 40"):
        make_manifest(plan, [receipts[0], short], QUALITY, 1.0, "run")


def test_states_come_from_storage_alone(storage: Storage) -> None:
    done, held, begun = a_plan(), a_plan(seed=1), a_plan(seed=2)
    for plan in (held, begun):
        plan.store(storage)
        write_shard(storage, plan, 0)
    record_outcome(storage, held, "held", ["passed_share is 0.1, the limit is 0.8"])
    publish(storage, done, *write_all(storage, done))
    record_outcome(storage, done, "published", [])
    states = {state.fingerprint: state for state in list_partitions(storage, done.job)}
    assert {name: state.state for name, state in states.items()} == {
        done.fingerprint: "published",
        held.fingerprint: "held",
        begun.fingerprint: "unfinished",
    }
    assert (states[begun.fingerprint].shards_done, states[begun.fingerprint].shards) == (1, 2)
    assert json.loads(json.dumps(states[done.fingerprint].manifest))["counts"]["accepted"] == 40


def test_a_plan_can_be_published_anew_over_itself(storage: Storage) -> None:
    plan = a_plan()
    publish(storage, plan, *write_all(storage, plan))
    before = published_parts(storage)
    receipts, manifest = write_all(storage, plan)
    assert publish(storage, plan, receipts, manifest | {"run": "forced"}, replace=True)
    published = read_published(storage, plan.job, plan.date)
    assert published is not None
    assert published.manifest["run"] == "forced"
    assert published_parts(storage) == before
