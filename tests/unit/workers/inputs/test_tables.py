from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.errors import InputError
from workers.inputs.tables import (
    ATTRIBUTES,
    CATALOG,
    IMAGES,
    INPUT_TABLES,
    INTERACTIONS,
    canonical_schema,
    canonical_table,
    check_schema,
    input_table,
)

PAIRS = [
    [{"key": "a", "value": "b"}],
    [],
    [{"key": "a", "value": None}, {"key": "c", "value": "d"}],
]


def catalog(attributes: pa.Array, ids: pa.Array | None = None, **more: pa.Array) -> pa.Table:
    return pa.table(
        {
            "product_id": ids if ids is not None else pa.array(["1", "2", "3"]),
            "attributes": attributes,
            **more,
        }
    )


def list_of_pairs(text: pa.DataType, *, large: bool = False, reverse: bool = False) -> pa.DataType:
    fields = [pa.field("key", text), pa.field("value", text)]
    pair = pa.struct(fields[::-1] if reverse else fields)
    return pa.large_list(pair) if large else pa.list_(pair)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("text", [pa.string(), pa.large_string(), pa.string_view()])
def test_attributes_are_accepted_in_every_arrow_type(
    text: pa.DataType, large: bool, reverse: bool
) -> None:
    found = pa.array(PAIRS, list_of_pairs(text, large=large, reverse=reverse))
    rows = canonical_table(CATALOG, catalog(found, pa.array(["1", "2", "3"], text)), "c.parquet")
    assert rows.schema.field("attributes").type == ATTRIBUTES
    assert rows["attributes"].to_pylist() == PAIRS


def test_maps_and_dictionaries_are_accepted() -> None:
    found = pa.array([[("a", "b")], [], [("c", None)]], pa.map_(pa.string(), pa.string()))
    ids = pa.array(["1", "2", "3"]).dictionary_encode()
    rows = canonical_table(CATALOG, catalog(found, ids), "c.parquet")
    assert rows["product_id"].to_pylist() == ["1", "2", "3"]
    assert rows["attributes"].to_pylist() == [
        [{"key": "a", "value": "b"}],
        [],
        [{"key": "c", "value": None}],
    ]


def test_times_of_every_unit_become_microseconds_in_utc() -> None:
    for found in (pa.timestamp("s"), pa.timestamp("ns"), pa.timestamp("ms", "Europe/Berlin")):
        times = pa.array([1_700_000_000], pa.int64()).cast(pa.timestamp("s")).cast(found)
        events = pa.table(
            {"user_id": ["u"], "item_id": ["i"], "event_time": times, "event_type": ["purchase"]}
        )
        rows = canonical_table(INTERACTIONS, events, "i.parquet")
        assert rows["event_time"].cast(pa.int64()).to_pylist() == [1_700_000_000_000_000]


def test_small_integers_become_labels_and_too_large_ones_are_refused() -> None:
    image = pa.array(
        [{"bytes": b"x", "path": None}],
        pa.struct([("bytes", pa.large_binary()), ("path", pa.null())]),
    )
    table = pa.table({"image": image, "label": pa.array([3], pa.uint8()), "label_name": ["cat"]})
    assert canonical_table(IMAGES, table, "i.parquet")["label"].to_pylist() == [3]
    huge = table.set_column(1, "label", pa.array([2**64 - 1], pa.uint64()))
    with pytest.raises(InputError, match=r"i\.parquet, column label"):
        canonical_table(IMAGES, huge, "i.parquet")


def test_undeclared_columns_are_unchanged() -> None:
    more = pa.array([{"deep": [1]}, None, {"deep": []}])
    rows = canonical_table(CATALOG, catalog(pa.array(PAIRS, ATTRIBUTES), more=more), "c.parquet")
    assert rows["more"].to_pylist() == more.to_pylist()


def test_the_error_of_a_missing_column_lists_the_found_columns() -> None:
    with pytest.raises(
        InputError, match=r"c\.csv: column attributes .* is missing; found columns: product_id"
    ):
        check_schema(CATALOG, pa.schema([("product_id", pa.string())]), "c.csv")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("product_id", pa.int64()),
        ("title", pa.binary()),
        ("attributes", pa.string()),
        ("attributes", pa.list_(pa.string())),
        ("attributes", list_of_pairs(pa.int64())),
        ("attributes", pa.list_(pa.struct([("key", pa.string())]))),
        ("updated_at", pa.string()),
    ],
)
def test_a_wrong_type_is_named_beside_the_right_one(name: str, found: pa.DataType) -> None:
    types = {"product_id": pa.string(), "attributes": ATTRIBUTES} | {name: found}
    with pytest.raises(InputError) as caught:
        check_schema(CATALOG, pa.schema(list(types.items())), "c.parquet")
    expected = CATALOG.column(name)
    assert expected is not None
    assert (
        str(caught.value)
        == f"c.parquet, column {name}: found type {found}, expected {expected.type}"
    )


def test_a_repeated_column_is_refused() -> None:
    schema = pa.schema(
        [("product_id", pa.string()), ("product_id", pa.string()), ("attributes", ATTRIBUTES)]
    )
    with pytest.raises(InputError, match="found 2 times"):
        check_schema(CATALOG, schema, "c.parquet")


def test_the_error_of_an_unknown_table_lists_all_tables() -> None:
    with pytest.raises(
        InputError, match="catalog, copy_examples, copy_requests, images, interactions"
    ):
        input_table("catalogue")


def test_the_canonical_schema_is_that_of_the_canonical_rows() -> None:
    found = catalog(pa.array(PAIRS, list_of_pairs(pa.large_string())), more=pa.array([1, 2, 3]))
    assert canonical_schema(CATALOG, found.schema) == canonical_table(CATALOG, found, "c").schema


@pytest.mark.parametrize(
    ("table", "file"),
    [
        ("catalog", "laptops/catalog.parquet"),
        ("copy_examples", "laptops/train.parquet"),
        ("interactions", "games/interactions.parquet"),
        ("images", "mnist/train.parquet"),
    ],
)
def test_real_files_fit_their_tables(shared_data: Path, table: str, file: str) -> None:
    rows = pq.read_table(shared_data / file)
    assert canonical_table(INPUT_TABLES[table], rows, file).num_rows == rows.num_rows
