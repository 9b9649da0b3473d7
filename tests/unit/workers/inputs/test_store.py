from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.errors import InputError, PreconditionFailed
from infra.storage import Storage
from infra.storage.files import FileStorage
from infra.storage.parquet import read_rows
from workers.inputs.store import check_inputs, list_input_files, put_table
from workers.inputs.tables import ATTRIBUTES


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return FileStorage((tmp_path / "store").as_uri())


def catalog_csv(folder: Path, name: str, ids: list[str]) -> Path:
    path = folder / name
    path.write_text(
        "product_id,attributes.name\n" + "".join(f"{product_id},Product\n" for product_id in ids)
    )
    return path


def stored_ids(storage: Storage) -> list[str]:
    keys = [info.key for info in list_input_files(storage, "catalog")]
    return sorted(
        product for key in keys for product in read_rows(storage, key)["product_id"].to_pylist()
    )


def test_files_are_added_to_the_table(storage: Storage, tmp_path: Path) -> None:
    first = put_table(storage, "catalog", [catalog_csv(tmp_path, "a.csv", ["a", "b"])])
    second = put_table(storage, "catalog", [catalog_csv(tmp_path, "b.csv", ["c"])])
    assert (first.num_rows, first.num_uploaded, second.num_rows) == (2, 1, 1)
    assert stored_ids(storage) == ["a", "b", "c"]


def test_putting_the_same_file_again_changes_nothing(storage: Storage, tmp_path: Path) -> None:
    path = catalog_csv(tmp_path, "a.csv", ["a", "b"])
    put_table(storage, "catalog", [path])
    before = list(storage.list(""))
    again = put_table(
        storage, "catalog", [path, path, catalog_csv(tmp_path, "same-bytes.csv", ["a", "b"])]
    )
    assert (again.num_uploaded, again.num_present, again.num_rows) == (0, 1, 2)
    assert list(storage.list("")) == before


def test_nothing_is_uploaded_if_anything_is_wrong(storage: Storage, tmp_path: Path) -> None:
    good, bad = catalog_csv(tmp_path, "a.csv", ["a"]), catalog_csv(tmp_path, "b.csv", ["b", ""])
    with pytest.raises(InputError, match=r"b\.csv, row 2, column product_id"):
        put_table(storage, "catalog", [good, bad])
    assert list(storage.list("")) == []


def test_an_id_in_two_files_is_refused(storage: Storage, tmp_path: Path) -> None:
    files = [catalog_csv(tmp_path, "a.csv", ["a", "b"]), catalog_csv(tmp_path, "b.csv", ["c", "a"])]
    with pytest.raises(InputError, match=r"b\.csv, row 2.*a\.csv, row 1"):
        put_table(storage, "catalog", files)
    assert list(storage.list("")) == []


def test_an_id_that_is_stored_already_is_refused_unless_replacing(
    storage: Storage, tmp_path: Path
) -> None:
    put_table(storage, "catalog", [catalog_csv(tmp_path, "a.csv", ["a", "b"])])
    changed = catalog_csv(tmp_path, "b.csv", ["b", "c"])
    with pytest.raises(InputError, match=r"b\.csv, row 1.*inputs/catalog/.*row 2"):
        put_table(storage, "catalog", [changed])
    summary = put_table(storage, "catalog", [changed], replace=True)
    assert (summary.num_uploaded, summary.num_removed) == (1, 1)
    assert stored_ids(storage) == ["b", "c"]


class Killed(Exception):
    """Stands for the death of the process."""


class MortalStorage(FileStorage):
    """Raises Killed instead of write or deletion number `lives`; records what readers see before
    each."""

    def __init__(self, uri: str, lives: int = 100) -> None:
        super().__init__(uri)
        self.lives = lives
        self.seen: list[list[str]] = []

    def _act(self) -> None:
        self.seen.append(stored_ids(self))
        if self.lives == 0:
            raise Killed
        self.lives -= 1

    def put(self, *args: Any, **options: Any) -> str:
        self._act()
        return super().put(*args, **options)

    def put_file(self, *args: Any, **options: Any) -> str:
        self._act()
        return super().put_file(*args, **options)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._act()
            super().delete([key])


def two_files(folder: Path, name: str, ids: str) -> list[Path]:
    return [
        catalog_csv(folder, f"{name}-{product}.csv", [product, product.upper()]) for product in ids
    ]


def test_readers_see_a_put_of_several_files_whole_or_not_at_all(
    storage: Storage, tmp_path: Path
) -> None:
    put_table(storage, "catalog", two_files(tmp_path, "old", "ab"))
    replacing = MortalStorage(storage.uri)
    changed = [catalog_csv(tmp_path, "changed.csv", ["A", "a"]), *two_files(tmp_path, "new", "bc")]
    put_table(replacing, "catalog", changed, replace=True)
    adding = MortalStorage(storage.uri)
    put_table(adding, "catalog", two_files(tmp_path, "more", "de"))
    views = [sorted(view) for view in (["a", "A", "b", "B"], ["a", "A", "b", "B", "c", "C"])]
    assert [view for view in replacing.seen if view not in views] == []
    assert replacing.seen[-1] == views[1]
    assert {len(view) for view in adding.seen} == {6, 10}, "never half of them"
    assert [info.key for info in storage.list("inputs/catalog/_")] == []


@pytest.mark.parametrize("replace", [True, False])
def test_the_next_put_removes_what_a_killed_put_left(
    storage: Storage, tmp_path: Path, replace: bool
) -> None:
    old, last = two_files(tmp_path, "old", "ab"), catalog_csv(tmp_path, "last.csv", ["z"])
    for lives in range(20):
        put_table(storage, "catalog", old, replace=True)
        try:
            mortal = MortalStorage(storage.uri, lives)
            put_table(mortal, "catalog", two_files(tmp_path, "new", "cd"), replace=replace)
        except Killed:
            found = stored_ids(storage)
            assert len(found) in {4, 8 - 4 * replace}
            put_table(storage, "catalog", [last])
            assert stored_ids(storage) == sorted([*found, "z"])
            assert list(storage.list("inputs/catalog/")) == list_input_files(storage, "catalog")
        else:
            assert lives == 5 + 2 * replace
            return
    pytest.fail("never done")


def test_a_put_that_another_put_overtakes_raises(storage: Storage, tmp_path: Path) -> None:
    class Overtaken(FileStorage):
        def put_file(self, *args: Any, **options: Any) -> str:
            put_table(storage, "catalog", [catalog_csv(tmp_path, "b.csv", ["b"])])
            return super().put_file(*args, **options)

    with pytest.raises(
        PreconditionFailed, match=r"another put into the table catalog .* put the files again"
    ):
        put_table(Overtaken(storage.uri), "catalog", two_files(tmp_path, "a", "cd"))


def test_markers_and_unfinished_writes_of_other_software_are_ignored(
    storage: Storage, tmp_path: Path
) -> None:
    put_table(storage, "catalog", [catalog_csv(tmp_path, "a.csv", ["a"])])
    for name in (
        "_SUCCESS",
        "_temporary/0/part-0.parquet",
        "dt=2026-11-22/.part.crc",
        "dt=2026-11-22/_metadata",
    ):
        (tmp_path / "store/inputs/catalog" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "store/inputs/catalog" / name).write_bytes(b"PAR")
    put_table(storage, "catalog", [catalog_csv(tmp_path, "b.csv", ["b"])])
    assert stored_ids(storage) == ["a", "b"]


def test_files_of_one_name_in_two_folders_are_told_apart(storage: Storage, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    files = [
        catalog_csv(tmp_path / "a", "p.csv", ["x", "y"]),
        catalog_csv(tmp_path / "b", "p.csv", ["z", "z"]),
    ]
    with pytest.raises(
        InputError, match=r"b/p\.csv, row 2, .* the same id is in .*b/p\.csv, row 1;"
    ):
        put_table(storage, "catalog", files)

    (tmp_path / "b/p.csv").write_text("product_id,attributes.name\nz\n")
    with pytest.raises(InputError, match=r"b/p\.csv, row 1: found 1 cells"):
        put_table(storage, "catalog", files)

    (tmp_path / "b/p.parquet").write_bytes(b"PAR")
    with pytest.raises(InputError, match=r"b/p\.parquet is not a Parquet file"):
        put_table(storage, "catalog", [tmp_path / "b/p.parquet"])


def test_undeclared_columns_of_the_same_name_are_kept(storage: Storage, tmp_path: Path) -> None:
    columns = [
        pa.array(["a"]),
        pa.array([[]], ATTRIBUTES),
        *(pa.array([number]) for number in range(4)),
    ]
    names = ["product_id", "attributes", "more", "more", "more_2", "more"]
    pq.write_table(pa.table(columns, names=names), tmp_path / "a.parquet")
    (key,) = put_table(storage, "catalog", [tmp_path / "a.parquet"]).keys
    (row,) = read_rows(storage, key).drop(["product_id", "attributes"]).to_pylist()
    assert row == {"more": 0, "more_3": 1, "more_2": 2, "more_4": 3}


def test_an_empty_table_is_refused(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"empty\.csv: the table catalog is empty"):
        put_table(storage, "catalog", [catalog_csv(tmp_path, "empty.csv", [])])
    with pytest.raises(InputError, match="no files were given"):
        put_table(storage, "catalog", [])
    with pytest.raises(InputError, match=r"none\.csv is not a file"):
        put_table(storage, "catalog", [tmp_path / "none.csv"])


def test_progress_is_counted_in_rows(storage: Storage, tmp_path: Path) -> None:
    reports: list[tuple[str, int]] = []
    put_table(
        storage,
        "catalog",
        [catalog_csv(tmp_path, "a.csv", [str(number) for number in range(5_000)])],
        on_progress=lambda name, rows: reports.append((name, rows)),
    )
    assert reports == [("a.csv", 4096), ("a.csv", 5000)]


def test_checking_reads_the_footers(storage: Storage, tmp_path: Path) -> None:
    put_table(storage, "catalog", [catalog_csv(tmp_path, "a.csv", ["a", "b"])])
    (file,) = check_inputs(storage, "catalog")
    assert file.footer.num_rows == 2
    assert file.info.key.startswith("inputs/catalog/")


def test_checking_refuses_a_table_without_rows(storage: Storage) -> None:
    with pytest.raises(
        InputError, match=r"catalog is empty: put files with `nightshift inputs put catalog FILES`"
    ):
        check_inputs(storage, "catalog")
    empty = pa.table(
        {"product_id": pa.array([], pa.string()), "attributes": pa.array([], ATTRIBUTES)}
    )
    put_by_hand(storage, "inputs/catalog/empty.parquet", empty)
    with pytest.raises(InputError, match="catalog is empty"):
        check_inputs(storage, "catalog")


def test_checking_refuses_files_that_came_by_hand_and_do_not_fit(storage: Storage) -> None:
    put_by_hand(
        storage, "inputs/catalog/a.parquet", pa.table({"product_id": [1], "attributes": [[]]})
    )
    with pytest.raises(
        InputError, match=r"inputs/catalog/a\.parquet, column product_id: found type int64"
    ):
        check_inputs(storage, "catalog")
    storage.put("inputs/catalog/a.parquet", b"not parquet")
    with pytest.raises(InputError, match=r"inputs/catalog/a\.parquet is not a Parquet file"):
        check_inputs(storage, "catalog")


def test_a_file_that_would_be_ignored_is_refused(storage: Storage) -> None:
    storage.put("inputs/catalog/_SUCCESS", b"")
    storage.put("inputs/catalog/products.csv", b"")
    with pytest.raises(InputError, match=r"inputs/catalog/products\.csv is not a Parquet file"):
        list_input_files(storage, "catalog")


def test_real_tables_go_in_and_come_out_unchanged(storage: Storage, shared_data: Path) -> None:
    for table, name in (
        ("catalog", "laptops/catalog.parquet"),
        ("copy_examples", "laptops/train.parquet"),
    ):
        summary = put_table(storage, table, [shared_data / name])
        found = read_rows(storage, summary.keys[0])
        assert found.to_pylist() == pq.read_table(shared_data / name).to_pylist()


def put_by_hand(storage: Storage, key: str, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    storage.put(key, sink.getvalue().to_pybytes())
