from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.errors import InputError, ObjectNotFound, StorageError
from infra.storage import Storage
from infra.storage.files import FileStorage
from infra.storage.parquet import (
    MAX_BATCH_ROWS,
    MAX_GROUP_ROWS,
    Footer,
    encode,
    fit,
    footer_of,
    iter_batches,
    open_local_parquet,
    open_parquet,
    read_footer,
    read_metadata,
    read_rows,
    write_file,
)

SCHEMA = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("text", pa.string())])


def rows(num_rows: int) -> pa.Table:
    return pa.table(
        {
            "text": [f"text {number}" for number in range(num_rows)],
            "id": pa.array(range(num_rows), pa.int32()),
        }
    )


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return FileStorage(tmp_path.as_uri())


def test_an_encoded_table_is_read_with_its_schema_and_metadata(storage: Storage) -> None:
    storage.put("a.parquet", encode(rows(5), SCHEMA, {"receipt": "ä"}))
    footer = read_footer(storage, "a.parquet")
    assert footer.schema.remove_metadata() == SCHEMA
    assert (footer.num_rows, [group.num_rows for group in footer.row_groups]) == (5, [5])
    assert read_metadata(storage, "a.parquet") == {"receipt": "ä"}
    assert read_rows(storage, "a.parquet")["id"].to_pylist() == [0, 1, 2, 3, 4]


def test_the_same_rows_give_the_same_bytes_however_they_are_chunked() -> None:
    whole = rows(9_000)
    cut = pa.concat_tables([whole.slice(0, 10), whole.slice(10, 8_000), whole.slice(8_010)])
    sliced = pa.concat_tables([whole, whole]).slice(9_000)
    expected = encode(whole, SCHEMA, {"b": "2", "a": "1"})
    assert encode(cut, SCHEMA, {"a": "1", "b": "2"}) == expected
    assert encode(sliced, SCHEMA, {"a": "1", "b": "2"}) == expected


def test_columns_and_row_groups_are_read_alone(storage: Storage) -> None:
    storage.put("a.parquet", encode(rows(MAX_GROUP_ROWS + 3), SCHEMA, {}))
    part = read_rows(storage, "a.parquet", columns=["id"], row_groups=[1])
    assert part.column_names == ["id"]
    assert part["id"].to_pylist() == [MAX_GROUP_ROWS, MAX_GROUP_ROWS + 1, MAX_GROUP_ROWS + 2]


@pytest.mark.parametrize(
    ("table", "named"),
    [
        (pa.table({"id": [1]}), "missing.*text"),
        (pa.table({"id": [1], "text": ["a"], "more": [1]}), "not expected.*more"),
        (pa.table({"id": ["one"], "text": ["a"]}), "column id: found string, expected int64"),
        (pa.table([[1], ["a"], ["b"]], ["id", "text", "text"]), "several are named text"),
        (pa.table({"id": pa.array([None], pa.int64()), "text": ["a"]}), "column id: found 1 nulls"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_by_column(table: pa.Table, named: str) -> None:
    with pytest.raises(InputError, match=named):
        fit(table, SCHEMA)


def test_files_that_are_not_parquet_or_damaged_are_named(storage: Storage) -> None:
    good = encode(rows(20_000), SCHEMA, {})
    damaged = {
        "text.parquet": b"id,text\n1,a\n",
        "empty.parquet": b"",
        "cut.parquet": good[: len(good) // 2],
        "hole.parquet": good[:500] + bytes(2000) + good[2500:],
    }
    for name, data in damaged.items():
        storage.put(name, data)
        with pytest.raises(InputError, match=name):
            read_rows(storage, name)


def test_a_missing_file_is_not_found(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFound, match=r"none\.parquet"):
        read_footer(storage, "none.parquet")
    with (
        pytest.raises(InputError, match="is not a file"),
        open_local_parquet(tmp_path / "none.parquet"),
    ):
        pass


def test_a_stream_is_written_with_bounded_row_groups_and_read_in_bounded_batches(
    tmp_path: Path,
) -> None:
    wide = pa.table(
        {"blob": [np.random.default_rng(0).bytes(2**18)] * 200},
        schema=pa.schema([("blob", pa.binary())]),
    )
    num_rows = write_file(tmp_path / "wide.parquet", wide.to_batches(max_chunksize=10), wide.schema)
    with open_local_parquet(tmp_path / "wide.parquet") as file:
        sizes = [
            file.metadata.row_group(index).num_rows for index in range(file.metadata.num_row_groups)
        ]
        read = sum(batch.num_rows for batch in iter_batches(file))
    assert num_rows == read == 200
    assert max(sizes) < 200


def test_metadata_of_a_stream_may_depend_on_its_rows(tmp_path: Path) -> None:
    seen: list[int] = []

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in rows(10).to_batches(max_chunksize=3):
            seen.append(batch.num_rows)
            yield batch

    write_file(tmp_path / "a.parquet", batches(), rows(1).schema, lambda: {"sizes": str(seen)})
    with open_local_parquet(tmp_path / "a.parquet") as file:
        assert footer_of(file).metadata["sizes"] == "[3, 3, 3, 1]"


def test_batches_are_small_whatever_the_row_groups_are(tmp_path: Path) -> None:
    pq.write_table(rows(50_000), tmp_path / "one-group.parquet", row_group_size=50_000)
    with open_local_parquet(tmp_path / "one-group.parquet") as file:
        batches = list(iter_batches(file, columns=["id"]))
    assert max(batch.num_rows for batch in batches) <= MAX_BATCH_ROWS
    assert pa.Table.from_batches(batches)["id"].to_pylist() == list(range(50_000))


def instants(**columns: list[int]) -> pa.Table:
    return pa.table(
        {name: pa.array(values, pa.timestamp("us")) for name, values in columns.items()}
    )


def footer_and_rows(path: Path, table: pa.Table) -> tuple[Footer, int]:
    pq.write_table(table, path)
    with open_local_parquet(path) as file:
        return footer_of(file), sum(batch.num_rows for batch in iter_batches(file))


def test_an_earliest_time_that_is_not_a_datetime_is_left_out(tmp_path: Path) -> None:
    footer, num_rows = footer_and_rows(
        tmp_path / "a.parquet", instants(good=[7, 5], far=[2**60, 2**61])
    )
    assert footer.earliest == {"good": datetime(1970, 1, 1, microsecond=5, tzinfo=UTC)}
    assert num_rows == 2


def test_an_earliest_time_of_two_columns_of_one_name_is_left_out(tmp_path: Path) -> None:
    twice = instants(a=[1], b=[2], c=[3]).rename_columns(["when", "when", "once"])
    footer, num_rows = footer_and_rows(tmp_path / "a.parquet", twice)
    assert set(footer.earliest) == {"once"}
    assert num_rows == 1


def test_a_missing_folder_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        write_file(tmp_path / "none" / "a.parquet", [], SCHEMA)


def test_an_open_file_stays_open_for_its_reader_only(storage: Storage) -> None:
    storage.put("a.parquet", encode(rows(3), SCHEMA, {}))
    with open_parquet(storage, "a.parquet") as file:
        assert file.metadata.num_rows == 3
    assert file.closed
