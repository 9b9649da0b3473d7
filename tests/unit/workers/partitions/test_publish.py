from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from infra.errors import GenerationError, PreconditionFailed, StorageError
from infra.settings import Settings
from infra.storage import Storage, open_storage
from tests.unit.workers.plans.test_plan import plan_of
from workers.partitions.leftovers import COPY_AGE, WORK_AGE, remove_leftovers
from workers.partitions.manifest import (
    Published,
    is_current,
    is_whole,
    make_manifest,
    manifest_key,
    read_published,
)
from workers.partitions.parts import (
    QUARANTINE,
    Receipt,
    list_parts,
    part_key,
    read_receipt,
    read_receipts,
    write_part,
)
from workers.partitions.publish import publish
from workers.partitions.states import list_partitions, next_attempt, record_outcome
from workers.plans.plan import Plan

QUALITY = {"passed_share": 1.0, "duplicate_share": 0.0, "distinct_2": 0.5, "mean_length": 9.0}


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(Settings(storage_uri=f"file://{tmp_path}"))


def a_plan(**settings: Any) -> Plan:
    return plan_of((40,), rows_per_shard=20, **settings)


def write_shard(storage: Storage, plan: Plan, shard: int, text: str = "a") -> Receipt:
    rows = pa.table(
        {"product_id": [f"p{shard}-{number}" for number in range(20)], "text": [text] * 20}
    )
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


def write_all(storage: Storage, plan: Plan) -> list[Receipt]:
    plan.store(storage)
    return [write_shard(storage, plan, shard) for shard in range(plan.num_shards)]


def run(
    storage: Storage, plan: Plan, name: str = "run", *, before: Published | str | None = "now"
) -> bool:
    """Writes all parts and publishes them in place of `before`, by default what is published
    now."""
    begun = read_published(storage, plan.job, plan.date) if isinstance(before, str) else before
    receipts = write_all(storage, plan)
    return publish(
        storage, plan, receipts, make_manifest(plan, receipts, QUALITY, 3.0, name, begun), begun
    )


def read(storage: Storage, plan: Plan) -> Published:
    published = read_published(storage, plan.job, plan.date)
    assert published is not None
    return published


def is_newer(storage: Storage, key: str, than: str) -> bool:
    """By the store's clock, which may count whole seconds."""
    modified = {item.key: item.modified for item in storage.list("")}
    return key in modified and modified[key] > modified[than]


def published_parts(storage: Storage) -> list[str]:
    return [
        item.key.rsplit("/", 1)[1]
        for item in storage.list("outputs/")
        if item.key.endswith(".parquet")
    ]


def test_a_receipt_survives_in_metadata_and_can_be_rebuilt_from_the_file(
    storage: Storage, tmp_path: Path
) -> None:
    plan = a_plan()
    receipt = write_shard(storage, plan, 0)
    assert read_receipt(storage, part_key(plan, 0)) == receipt
    copy = open_storage(Settings(storage_uri=f"file://{tmp_path}/copy"))
    copy.put(part_key(plan, 0), storage.get(part_key(plan, 0)))
    assert read_receipt(copy, part_key(plan, 0)) == replace(receipt, seconds=0.0)


def test_receipts_that_lose_rows_cannot_be_made() -> None:
    with pytest.raises(GenerationError, match="rows were lost or made up"):
        Receipt(
            shard=0, fingerprint="f", input_rows=3, accepted=1, rejected=1, quarantined=0, future=0
        )


def test_a_part_written_twice_is_one_part_if_the_bytes_agree(storage: Storage) -> None:
    plan = a_plan()
    assert write_shard(storage, plan, 1) == write_shard(storage, plan, 1)
    assert list(list_parts(storage, plan.prefix)) == [1]


def test_parts_are_found_by_their_numbers_beyond_a_million(storage: Storage) -> None:
    plan = a_plan()
    for shard in (7, 1_000_000):
        storage.put(part_key(plan, shard), b"")
    assert sorted(list_parts(storage, plan.prefix)) == [7, 1_000_000]


def test_a_late_write_of_other_bytes_is_refused_and_changes_nothing(storage: Storage) -> None:
    plan = a_plan()
    first = write_shard(storage, plan, 1)
    with pytest.raises(GenerationError, match="already written with other bytes"):
        write_shard(storage, plan, 1, text="b")
    assert read_receipts(storage, [part_key(plan, 1)]) == [first]


def test_publishing_moves_the_parts_and_leaves_no_work_parts(storage: Storage) -> None:
    plan = a_plan()
    assert run(storage, plan)
    published = read(storage, plan)
    assert is_whole(storage, published.manifest)
    assert published.manifest.counts.accepted == 40
    assert list_parts(storage, plan.prefix) == {}


def test_publishing_the_same_plan_again_changes_nothing(storage: Storage) -> None:
    plan = a_plan()
    run(storage, plan)
    before = published_parts(storage)
    assert not run(storage, plan, "another", before=None)
    assert published_parts(storage) == before
    assert read(storage, plan).manifest.run == "run"
    assert list_parts(storage, plan.prefix) == {}


def test_a_new_plan_supersedes_the_parts_of_the_old_one(storage: Storage) -> None:
    old, new = a_plan(), a_plan(seed=1)
    run(storage, old)
    run(storage, new)
    assert published_parts(storage) == [
        f"part-{shard:06d}-2-{new.fingerprint[:8]}.parquet" for shard in range(2)
    ]


def test_a_plan_that_is_published_again_uses_new_names(storage: Storage) -> None:
    first, second = a_plan(), a_plan(seed=1)
    run(storage, first)
    names = set(published_parts(storage))
    run(storage, second)
    run(storage, first)
    assert not names & set(published_parts(storage))
    assert is_whole(storage, read(storage, first).manifest)


def test_a_publisher_that_died_after_the_swap_is_cleaned_up_after(storage: Storage) -> None:
    old, new = a_plan(), a_plan(seed=1)
    run(storage, old)
    kept = {
        item.key: storage.get(item.key)
        for item in storage.list("outputs/")
        if item.key.endswith(".parquet")
    }
    run(storage, new)
    for key, data in kept.items():
        storage.put(key, data)
    assert len(published_parts(storage)) == 4
    assert remove_leftovers(storage, new.job, new.date) == 2
    assert all(new.fingerprint[:8] in name for name in published_parts(storage))


def test_copies_of_a_losing_publisher_are_removed_and_those_of_a_running_one_kept(
    storage: Storage,
) -> None:
    plan = a_plan()
    folder = f"outputs/{plan.job}/dt={plan.date}/"
    storage.put(f"{folder}part-000000-1-dead0000.parquet", b"older than the manifest")
    run(storage, plan)
    assert len(published_parts(storage)) == 2
    storage.put(f"{folder}part-000000-2-beef0000.parquet", b"newer than the manifest")
    assert remove_leftovers(storage, plan.job, plan.date) == 0
    later = datetime.now(UTC) + COPY_AGE + timedelta(minutes=1)
    assert remove_leftovers(storage, plan.job, plan.date, later) == 1
    assert is_whole(storage, read(storage, plan).manifest)


def test_parts_of_a_run_that_generates_the_published_rows_again_are_kept(storage: Storage) -> None:
    """Another run, which finds the date unchanged, cleans up in the meantime."""
    plan = a_plan()
    run(storage, plan, "first")
    before = read(storage, plan)
    while not is_newer(storage, "later", manifest_key(plan.job, plan.date)):
        storage.put("later", b"")
    receipts = write_all(storage, plan)
    assert remove_leftovers(storage, plan.job, plan.date) == 0
    assert publish(
        storage,
        plan,
        receipts,
        make_manifest(plan, receipts, QUALITY, 3.0, "forced", before),
        before,
    )
    assert read(storage, plan).manifest.run == "forced"
    write_all(storage, plan)
    later = datetime.now(UTC) + WORK_AGE + timedelta(minutes=1)
    assert remove_leftovers(storage, plan.job, plan.date, later) == plan.num_shards
    assert list_parts(storage, plan.prefix) == {}


def test_abandoned_work_is_removed_after_a_week_once_the_date_is_published(
    storage: Storage,
) -> None:
    left, plan = a_plan(seed=1), a_plan()
    write_all(storage, left)
    later = datetime.now(UTC) + WORK_AGE + timedelta(minutes=1)
    assert remove_leftovers(storage, plan.job, plan.date, later) == 0
    run(storage, plan)
    assert len(list_parts(storage, left.prefix)) == 2
    assert remove_leftovers(storage, plan.job, plan.date, later) == 3
    assert not list(storage.list(left.prefix))
    assert list(storage.list(plan.prefix))


def test_of_two_publishers_of_different_plans_the_late_one_fails(storage: Storage) -> None:
    first, second = a_plan(), a_plan(seed=1)
    with pytest.raises(
        PreconditionFailed, match="published by another run with other inputs or settings"
    ):
        run(_PublishesMeanwhile(storage, first), second)  # type: ignore[arg-type]
    assert read(storage, first).manifest.fingerprint == first.fingerprint
    assert all(first.fingerprint[:8] in name for name in published_parts(storage))


def test_a_run_that_began_before_another_published_replaces_nothing(storage: Storage) -> None:
    old, new = a_plan(), a_plan(seed=1)
    run(storage, new)
    with pytest.raises(PreconditionFailed, match="nothing was replaced"):
        run(storage, old, before=None)
    assert read(storage, new).manifest.fingerprint == new.fingerprint
    assert all(new.fingerprint[:8] in name for name in published_parts(storage))


class _PublishesMeanwhile:
    """The real store, on which another run publishes `plan` just before our manifest is put."""

    def __init__(self, storage: Storage, plan: Plan) -> None:
        self._storage, self._plan = storage, plan

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def put(self, key: str, data: bytes, **options: Any) -> str:
        if key.endswith("_SUCCESS"):
            run(self._storage, self._plan)
        return self._storage.put(key, data, **options)


class _ForbidsDeleting:
    """The real store, with keys that may not delete."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def delete(self, keys: Iterable[str]) -> None:
        raise StorageError(f"{len(list(keys))} objects could not be deleted")


def test_rows_are_published_even_if_superseded_parts_cannot_be_removed(
    storage: Storage,
) -> None:
    plan = a_plan()
    assert run(_ForbidsDeleting(storage), plan)  # type: ignore[arg-type]
    published = read_published(storage, plan.job, plan.date)
    assert published is not None
    assert is_whole(storage, published.manifest)
    assert list_parts(storage, plan.prefix) != {}
    assert remove_leftovers(storage, plan.job, plan.date) > 0
    assert list_parts(storage, plan.prefix) == {}


def test_parts_removed_during_publishing_are_not_reported_as_a_race(
    storage: Storage,
) -> None:
    plan = a_plan()
    receipts = write_all(storage, plan)
    storage.delete([part_key(plan, 1)])
    with pytest.raises(GenerationError, match="removed while they were published"):
        publish(
            storage, plan, receipts, make_manifest(plan, receipts, QUALITY, 1.0, "run", None), None
        )


def test_parts_that_are_not_what_their_receipts_say_are_not_published(storage: Storage) -> None:
    plan = a_plan()
    receipts = write_all(storage, plan)
    storage.put(part_key(plan, 1), b"something else")
    with pytest.raises(GenerationError, match="not what their receipts say"):
        publish(
            storage, plan, receipts, make_manifest(plan, receipts, QUALITY, 1.0, "run", None), None
        )
    assert read_published(storage, plan.job, plan.date) is None


def test_a_manifest_needs_every_shard_and_every_row(storage: Storage) -> None:
    plan = a_plan()
    receipts = write_all(storage, plan)
    with pytest.raises(GenerationError, match="1 receipts for 2 shards"):
        make_manifest(plan, receipts[:1], QUALITY, 1.0, "run", None)
    short = replace(receipts[1], input_rows=19, accepted=19)
    with pytest.raises(GenerationError, match="the plan 40"):
        make_manifest(plan, [receipts[0], short], QUALITY, 1.0, "run", None)


def test_states_come_from_storage_alone(storage: Storage) -> None:
    done, held, begun = a_plan(), a_plan(seed=1), a_plan(seed=2)
    for plan in (held, begun):
        plan.store(storage)
        write_shard(storage, plan, 0)
    record_outcome(storage, held, "held", ["passed_share is 0.1, the limit is 0.8"])
    run(storage, done)
    record_outcome(storage, done, "published", [])
    states = {state.fingerprint: state for state in list_partitions(storage, done.job)}
    assert {name: state.state for name, state in states.items()} == {
        done.fingerprint: "published",
        held.fingerprint: "held",
        begun.fingerprint: "unfinished",
    }
    assert (states[begun.fingerprint].shards_done, states[begun.fingerprint].shards) == (1, 2)
    manifest = states[done.fingerprint].manifest
    assert manifest is not None
    assert manifest.counts.accepted == 40


def test_a_partition_with_missing_parts_is_damaged(storage: Storage) -> None:
    plan = a_plan()
    run(storage, plan)
    gone = f"outputs/{plan.job}/dt={plan.date}/{published_parts(storage)[1]}"
    storage.delete([gone])
    (state,) = list_partitions(storage, plan.job, plan.date)
    assert (state.state, state.shards_done) == ("damaged", 1)
    assert state.reasons == [f"1 parts are missing or truncated, such as {gone}"]
    assert run(storage, plan)
    assert is_whole(storage, read(storage, plan).manifest)


def test_a_plan_can_replace_its_own_publication(storage: Storage) -> None:
    plan = a_plan()
    run(storage, plan)
    names = published_parts(storage)
    assert run(storage, plan, "forced")
    assert read(storage, plan).manifest.run == "forced"
    assert not set(names) & set(published_parts(storage))
    assert len(published_parts(storage)) == 2


def test_each_retry_is_a_separate_plan_until_its_outcome_is_recorded(storage: Storage) -> None:
    plan = a_plan()
    assert next_attempt(storage, plan, None) == plan
    record_outcome(storage, plan, "failed", ["too many rows raised"])
    second = replace(plan, attempts=2)
    assert next_attempt(storage, plan, None) == second
    run(storage, second)
    published = read(storage, second)
    assert is_current(plan, published.manifest)
    assert not is_current(a_plan(seed=1), published.manifest)
    assert next_attempt(storage, plan, published).attempts == 3
