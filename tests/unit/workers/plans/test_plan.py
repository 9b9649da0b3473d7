from dataclasses import replace
from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import InputError
from infra.settings import Settings
from infra.storage import open_storage
from workers.jobs import JOBS
from workers.pins import InputObject, ModelPin, Snapshot, end_of_day, parse_date
from workers.plans.plan import MAX_ROWS_PER_SHARD, MIN_ROWS_PER_SHARD, Plan, Prepared
from workers.plans.planning import make_plan

DAY = date(2026, 11, 22)
PIN = ModelPin("copywriter", "2026-11-22-gpt-00000000", "0" * 64, "2026-11-22")


def plan_of(*files: tuple[int, ...], **settings: object) -> Plan:
    objects = tuple(
        InputObject(f"inputs/catalog/{number}.parquet", f"etag{number}", 1000, groups)
        for number, groups in enumerate(files)
    )
    job = JOBS["product_descriptions"]
    snapshot = Snapshot("catalog", end_of_day(DAY).isoformat(), objects)
    return make_plan(job, DAY, snapshot, PIN, job.parse_settings(settings))


@settings(deadline=None)
@given(
    files=st.lists(
        st.lists(st.integers(1, 5000), min_size=1, max_size=5).map(tuple), min_size=1, max_size=6
    ),
    rows_per_shard=st.integers(0, 700),
)
def test_every_row_is_in_exactly_one_shard(
    files: list[tuple[int, ...]], rows_per_shard: int
) -> None:
    plan = plan_of(*files, rows_per_shard=rows_per_shard)
    found: dict[str, list[tuple[int, int]]] = {}
    for index in range(plan.num_shards):
        shard = plan.shard(index)
        assert shard.index == index
        found.setdefault(shard.source.key, []).append((shard.start, shard.stop))
    for item in plan.snapshot.objects:
        edges = [0] + [stop for _, stop in found[item.key]]
        assert found[item.key] == list(pairwise(edges))
        assert edges[-1] == item.num_rows


def test_shards_have_whole_batches_and_depend_on_the_number_of_rows() -> None:
    assert plan_of((100,), batch_rows=32).rows_per_shard == 32
    assert plan_of((100,), batch_rows=2048).rows_per_shard == MIN_ROWS_PER_SHARD
    assert plan_of((6400,), batch_rows=32).rows_per_shard == 128
    assert plan_of((65536,) * 16).rows_per_shard == MAX_ROWS_PER_SHARD
    assert plan_of().rows_per_shard > 0


def test_a_plan_of_a_billion_rows_is_small_and_finds_any_shard() -> None:
    plan = plan_of(*[(65536,) * 160] * 96)
    assert plan.snapshot.num_rows > 1_000_000_000
    last = plan.shard(plan.num_shards - 1)
    assert (last.source.key, last.stop) == (
        plan.snapshot.objects[-1].key,
        plan.snapshot.objects[-1].num_rows,
    )


def test_each_ingredient_changes_the_fingerprint_and_nothing_else_does() -> None:
    plan = plan_of((100,))
    item = plan.snapshot.objects[0]
    changed = [
        replace(plan, job_version=plan.job_version + 1),
        replace(plan, model=replace(PIN, weights_sha256="1" * 64)),
        replace(plan, settings={**plan.settings, "temperature": 0.51}),
        replace(plan, settings={**plan.settings, "seed": 1}),
        replace(plan, snapshot=replace(plan.snapshot, objects=(replace(item, etag="other"),))),
        replace(plan, snapshot=replace(plan.snapshot, cut="2026-11-22T00:00:00+00:00")),
    ]
    fingerprints = {plan.fingerprint, *(other.fingerprint for other in changed)}
    assert len(fingerprints) == len(changed) + 1
    assert plan_of((100,)).fingerprint == plan.fingerprint


def test_a_plan_determines_its_prepared_rows_and_generates_from_them() -> None:
    plan = plan_of((100,))
    bare = replace(plan, prepared=Prepared(snapshots=(plan.snapshot,), model=PIN))
    assert bare.fingerprint != plan.fingerprint
    assert bare.num_shards == 0
    rows = (InputObject(bare.prepared_key, "e", 1, (40, 2)),)
    full = replace(
        bare,
        prepared=Prepared(
            snapshots=(plan.snapshot,), model=PIN, objects=rows, summary={"counts": {}}
        ),
    )
    assert full.fingerprint == bare.fingerprint
    assert (full.num_rows, full.shard(0).source) == (42, rows[0])
    assert replace(full, attempts=3).prepared_key == full.prepared_key
    others = [
        replace(bare, prepared=Prepared(snapshots=(), model=PIN)),
        replace(
            bare, prepared=Prepared(snapshots=(plan.snapshot,), model=replace(PIN, version="other"))
        ),
    ]
    assert len({bare.fingerprint, *(other.fingerprint for other in others)}) == 3


def test_storing_the_same_plan_twice_keeps_one(tmp_path: object) -> None:
    storage = open_storage(Settings(storage_uri=f"file://{tmp_path}"))
    plan = plan_of((100,))
    plan.store(storage)
    plan.store(storage)
    assert [item.key for item in storage.list("work/")] == [f"{plan.prefix}plan.json"]


def test_a_bad_date_is_refused_with_an_example() -> None:
    with pytest.raises(InputError, match=r"'22\.11\.2026' is not a date; expected YYYY-MM-DD"):
        parse_date("22.11.2026")
