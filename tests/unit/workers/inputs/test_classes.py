import gc
import json
import weakref
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from infra.errors import InputError
from infra.settings import Settings
from infra.storage import Storage, open_storage
from tests.unit.workers.picture_files import drawings, write_drawings
from workers.inputs.classes import check_amount, count_classes, order_pictures
from workers.inputs.snapshot import take_snapshot
from workers.inputs.store import put_table
from workers.pins import Order

DAY = date(2026, 11, 22)
CAT, DOG = (0, "cat"), (3, "dog")


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(Settings(storage_uri=(tmp_path / "store").as_uri()))


def test_classes_are_counted_over_all_files(storage: Storage, tmp_path: Path) -> None:
    files = [
        write_drawings(tmp_path / f"{seed}.parquet", {DOG: 3, CAT: 2}, seed=seed)
        for seed in range(2)
    ]
    put_table(storage, "images", files)
    assert list(count_classes(storage, take_snapshot(storage, "images", DAY)).items()) == [
        (CAT, 4),
        (DOG, 6),
    ]


def test_files_are_counted_once_for_all_dates_without_keeping_the_store(
    storage: Storage, tmp_path: Path
) -> None:
    put_table(storage, "images", [write_drawings(tmp_path / "a.parquet", {DOG: 3, CAT: 2})])
    snapshot = take_snapshot(storage, "images", DAY)
    stores = [open_storage(Settings(storage_uri=storage.uri)) for _ in range(2)]
    assert count_classes(stores[0], snapshot) == {CAT: 2, DOG: 3}
    storage.delete([snapshot.objects[0].key])
    assert count_classes(stores[1], snapshot) == {CAT: 2, DOG: 3}
    are_there = [weakref.ref(store) for store in stores]
    stores.clear()
    gc.collect()
    assert [ref() for ref in are_there] == [None, None]


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        ("5", [Order(0, "cat", 5), Order(3, "dog", 5)]),
        ("1x", [Order(0, "cat", 2), Order(3, "dog", 8)]),
        ("2.5x", [Order(0, "cat", 5), Order(3, "dog", 20)]),
        ("up-to-8", [Order(0, "cat", 6)]),
    ],
)
def test_an_amount_is_a_number_a_multiple_or_a_target(
    storage: Storage, tmp_path: Path, amount: str, expected: list[Order]
) -> None:
    put_table(storage, "images", [write_drawings(tmp_path / "a.parquet", {CAT: 2, DOG: 8})])
    snapshot = take_snapshot(storage, "images", DAY)
    assert list(order_pictures(storage, snapshot, amount)) == expected


def test_an_amount_that_asks_for_nothing_or_for_absurdly_much_is_refused(
    storage: Storage, tmp_path: Path
) -> None:
    put_table(storage, "images", [write_drawings(tmp_path / "a.parquet", {CAT: 2, DOG: 8})])
    snapshot = take_snapshot(storage, "images", DAY)
    for amount, message in (
        ("up-to-2", "no picture at all"),
        ("90000000", "180,000,000 pictures; a partition holds at most 100,000,000"),
    ):
        with pytest.raises(InputError, match=message):
            order_pictures(storage, snapshot, amount)


@pytest.mark.parametrize("amount", ["", "many", "-3", "x2", "up-to-", "2 x"])
def test_an_invalid_amount_raises_an_error_that_lists_the_three_forms(amount: str) -> None:
    with pytest.raises(ValueError, match=r"\(500\).*\(2x\).*\(up-to-1000\)"):
        check_amount(amount)


def test_a_label_has_one_name_in_all_files(storage: Storage, tmp_path: Path) -> None:
    put_table(storage, "images", [write_drawings(tmp_path / "a.parquet", {CAT: 2, DOG: 2})])
    renamed = write_drawings(tmp_path / "b.parquet", {(3, "wolf"): 1})
    with pytest.raises(
        InputError,
        match=r"b.parquet, row 1, column label_name: found 'wolf'; expected 'dog', the name of 3",
    ):
        put_table(storage, "images", [renamed])
    moved = write_drawings(tmp_path / "c.parquet", {(4, "dog"): 1})
    with pytest.raises(
        InputError,
        match=r"c.parquet, row 1, column label: found 4; expected 3, the label of 'dog' in",
    ):
        put_table(storage, "images", [moved])
    assert put_table(storage, "images", [renamed], replace=True).num_uploaded == 1


@pytest.mark.parametrize(
    "found",
    [
        "no JSON",
        "[]",
        '{"info": null}',
        '{"info": {"features": []}}',
        "[" * 100_000,
        '{"info": {"features": {"label": {"names": 3}}}}',
    ],
)
def test_metadata_of_another_shape_name_no_labels(
    storage: Storage, tmp_path: Path, found: str
) -> None:
    table = drawings({CAT: 1, DOG: 1}).replace_schema_metadata({"huggingface": found})
    pq.write_table(table, tmp_path / "a.parquet")
    assert put_table(storage, "images", [tmp_path / "a.parquet"]).num_rows == 2


def test_labels_outside_the_names_of_the_metadata_are_refused(
    storage: Storage, tmp_path: Path
) -> None:
    features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    for counts, message in (
        ({(2, "owl"): 1}, "row 1, column label: found 2; expected 0 to 1"),
        ({(1, "owl"): 1}, "'owl'"),
    ):
        pq.write_table(drawings(counts).replace_schema_metadata(metadata), tmp_path / "a.parquet")
        with pytest.raises(InputError, match=message):
            put_table(storage, "images", [tmp_path / "a.parquet"])
