import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.errors import InputError
from workers.inputs.files import BATCH_ROWS, open_input
from workers.inputs.tables import CATALOG, IMAGES, INTERACTIONS, InputTable


def read(table: InputTable, path: Path) -> list[dict[str, Any]]:
    with open_input(table, path) as (schema, batches):
        return pa.Table.from_batches(batches, schema=schema).to_pylist()


def refusal(table: InputTable, path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(table, path)
    return str(caught.value).removeprefix(f"{path.parent}/")


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def pairs(**values: str | None) -> list[dict[str, str | None]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def test_csv_takes_attributes_as_columns_and_leaves_empty_cells_out(written: Any) -> None:
    header = "\ufeffproduct_id,attributes.size,title,attributes.name,stock\n"
    path = written("c.csv", f'{header}p1,,"a ""b"", c",😀,5\np2,M,,,\n')
    assert read(CATALOG, path) == [
        {"product_id": "p1", "title": 'a "b", c', "stock": "5", "attributes": pairs(name="😀")},
        {"product_id": "p2", "title": None, "stock": None, "attributes": pairs(size="M")},
    ]


def test_csv_takes_attributes_as_json(written: Any) -> None:
    as_object, as_list = json.dumps({"a": 1.5, "b": True}), json.dumps(pairs(a="x"))
    quoted = [cell.replace('"', '""') for cell in (as_object, as_list)]
    path = written("c.csv", f'product_id,attributes\np1,"{quoted[0]}"\np2,"{quoted[1]}"\n')
    assert [row["attributes"] for row in read(CATALOG, path)] == [
        pairs(a="1.5", b="true"),
        pairs(a="x"),
    ]


def test_json_lines_takes_objects_lists_and_columns_that_come_late(written: Any) -> None:
    lines = [
        {"product_id": "p1", "attributes": {"a": "x", "n": 4}},
        {
            "product_id": "p2",
            "attributes": pairs(a=None),
            "updated_at": "2026-01-02T03:00:00+02:00",
            "tags": ["new"],
        },
    ]
    rows = read(CATALOG, written("c.jsonl", "\n".join(json.dumps(line) for line in lines)))
    assert [row["attributes"] for row in rows] == [pairs(a="x", n="4"), pairs(a=None)]
    assert [row["tags"] for row in rows] == [None, '["new"]']
    assert rows[1]["updated_at"].isoformat() == "2026-01-02T01:00:00+00:00"


def test_json_numbers_keep_their_spelling(written: Any) -> None:
    numbers = (
        '"price": 19.90, "big": 12345678901234567890123, "scale": 1E3, "sizes": [1.50, {"a": -0.0}]'
    )
    attributes = '{"price": 19.90, "scale": 1E3}'
    path = written("c.jsonl", f'{{"product_id": "p", "attributes": {attributes}, {numbers}}}')
    (row,) = read(CATALOG, path)
    assert row["attributes"] == pairs(price="19.90", scale="1E3")
    assert (row["price"], row["big"], row["scale"]) == ("19.90", "12345678901234567890123", "1E3")
    assert row["sizes"] == '[1.50, {"a": -0.0}]'
    quoted = attributes.replace('"', '""')
    path = written("c.csv", f'product_id,attributes\np,"{quoted}"\n')
    assert read(CATALOG, path)[0]["attributes"] == pairs(price="19.90", scale="1E3")


def test_times_without_a_zone_are_utc(written: Any) -> None:
    path = written(
        "i.csv", "user_id,item_id,event_time,event_type\nu,i,2026-11-01 12:30:00,purchase\n"
    )
    assert read(INTERACTIONS, path)[0]["event_time"].isoformat() == "2026-11-01T12:30:00+00:00"


def test_parquet_keeps_undeclared_columns(tmp_path: Path) -> None:
    table = pa.table({"product_id": ["p"], "attributes": [[("a", "x")]], "more": [[1, 2]]})
    table = table.set_column(
        1, "attributes", pa.array([[("a", "x")]], pa.map_(pa.string(), pa.large_string()))
    )
    pq.write_table(table, tmp_path / "c.parquet")
    assert read(CATALOG, tmp_path / "c.parquet") == [
        {"product_id": "p", "attributes": pairs(a="x"), "more": [1, 2]}
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.csv", "", "c.csv: column product_id (string) is missing"),
        ("c.csv", "product_id,title\np,t\n", "c.csv: column attributes"),
        ("c.csv", "product_id,attributes.a,product_id\n", "c.csv: the header names a column twice"),
        (
            "c.csv",
            "product_id,attributes.a\np,x\nq\n",
            "c.csv, row 2: found 1 cells; expected 2, there is none for",
        ),
        (
            "c.csv",
            "product_id,attributes.a\np,x,y\n",
            "c.csv, row 1: found 3 cells; expected 2, 'y' follows column",
        ),
        ("c.csv", 'product_id,attributes.a\np,"x\n', "c.csv, row 1: "),
        ("c.csv", 'product_id,"attributes.a\np,x\n', "c.csv, header: unexpected end of data"),
        ("c.csv", f"product_id,attributes.a\np,{'x' * 200_000}\n", "c.csv, row 1: field larger"),
        ("c.csv", b"product_id,attributes.a\n\xff,x\n", "c.csv is not in UTF-8"),
        (
            "c.csv",
            "product_id,attributes\np,large\n",
            "c.csv, row 1, column attributes: found 'large'; expected list",
        ),
        (
            "c.csv",
            "product_id,attributes.a,updated_at\np,x,today\n",
            "c.csv, row 1, column updated_at: found 'today'",
        ),
        (
            "c.jsonl",
            '{"product_id": 5, "attributes": {}}',
            "c.jsonl, row 1, column product_id: found 5",
        ),
        (
            "c.jsonl",
            '{"product_id": "p", "attributes": {"a": 1, "a": 2}}',
            "c.jsonl, row 1: not JSON: key 'a'",
        ),
        (
            "c.jsonl",
            '{"product_id": "p", "attributes": {"a": [1]}}',
            "c.jsonl, row 1, column attributes: found",
        ),
        (
            "c.jsonl",
            '{"product_id": "p", "attributes": {"a": "\\ud800"}}',
            "c.jsonl, row 1, column attributes: found",
        ),
        (
            "c.jsonl",
            '{"product_id": "p", "attributes": {"a": NaN}}',
            "c.jsonl, row 1, column attributes: found {'a': NaN}",
        ),
        (
            "c.jsonl",
            '{"product_id": "p", "attributes": {}, "stock": -Infinity}',
            "c.jsonl, row 1, column stock: found -Infinity; "
            "expected string (JSON has no number -Infinity)",
        ),
        (
            "c.jsonl",
            '{"product_id": "p", "attributes": {}}\n\n',
            "c.jsonl, row 2: found an empty line",
        ),
        ("c.jsonl", "[1, 2]", "c.jsonl, row 1: found a list; expected a JSON object"),
        ("c.jsonl", "[" * 100_000, "c.jsonl, row 1: not JSON"),
        ("c.parquet", "product_id,attributes.a\n", "c.parquet is not a Parquet file"),
        ("c.xlsx", "", "c.xlsx: files end in .parquet, .csv, .jsonl, .ndjson"),
    ],
)
def test_errors_of_unreadable_files_name_the_place(
    written: Any, name: str, content: str, message: str
) -> None:
    assert refusal(CATALOG, written(name, content)).startswith(message)


def test_a_bad_value_in_a_later_batch_is_named_with_its_row(written: Any) -> None:
    lines = ["u,i,2026-11-01,purchase"] * (BATCH_ROWS + 5) + ["u,i,2026-11-31,purchase"]
    path = written("i.csv", "user_id,item_id,event_time,event_type\n" + "\n".join(lines))
    assert refusal(INTERACTIONS, path).startswith(f"i.csv, row {BATCH_ROWS + 6}, column event_time")


def test_images_come_as_parquet_only(written: Any) -> None:
    assert "expected a Parquet file" in refusal(
        IMAGES, written("i.csv", "image,label,label_name\nx,1,y\n")
    )
