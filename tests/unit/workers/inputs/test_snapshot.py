from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.errors import InputError, ObjectNotFound
from infra.settings import Settings
from infra.storage import Storage, open_storage
from infra.storage.parquet import read_footer
from workers.inputs.snapshot import read_inputs, take_snapshot, while_files_change
from workers.inputs.tables import ATTRIBUTES

DAY = date(2026, 11, 22)
PAST, LAST_MOMENT = (
    datetime(2026, 11, 1, tzinfo=UTC),
    datetime(2026, 11, 22, 23, 59, 59, 999_999, tzinfo=UTC),
)
NEXT_DAY = datetime(2026, 11, 23, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        ("product_id", pa.string()),
        ("attributes", ATTRIBUTES),
        ("updated_at", pa.timestamp("us", "UTC")),
    ]
)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(Settings(storage_uri=tmp_path.as_uri()))


def put(storage: Storage, name: str, *times: datetime | None, rows_per_group: int = 2) -> str:
    rows = [
        {"product_id": f"{name}-{n}", "attributes": [], "updated_at": time}
        for n, time in enumerate(times)
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), sink, row_group_size=rows_per_group)
    key = f"inputs/catalog/{name}.parquet"
    storage.put(key, sink.getvalue().to_pybytes())
    return key


def test_a_file_with_only_later_rows_changes_no_earlier_date(storage: Storage) -> None:
    past = put(storage, "past", PAST, LAST_MOMENT, PAST)
    before = take_snapshot(storage, "catalog", DAY)
    assert [(item.key, item.row_groups) for item in before.objects] == [(past, (2, 1))]
    put(storage, "future", NEXT_DAY, NEXT_DAY)
    assert take_snapshot(storage, "catalog", DAY) == before
    assert len(take_snapshot(storage, "catalog", date(2026, 11, 23)).objects) == 2


@pytest.mark.parametrize(
    "times", [(NEXT_DAY, LAST_MOMENT), (NEXT_DAY, None), (LAST_MOMENT,), (None, None)]
)
def test_a_file_with_any_row_that_is_not_later_is_part_of_the_date(
    storage: Storage, times: tuple[datetime | None, ...]
) -> None:
    key = put(storage, "mixed", *times, rows_per_group=1)
    assert [item.key for item in take_snapshot(storage, "catalog", DAY).objects] == [key]


def test_the_footers_are_read_once_for_any_number_of_dates(storage: Storage) -> None:
    key = put(storage, "past", PAST)
    inputs = read_inputs(storage, "catalog")
    storage.delete([key])
    assert inputs.snapshot(DAY).num_rows == 1
    assert inputs.snapshot(date(2026, 10, 1)).num_rows == 0


def test_reading_is_retried_if_files_are_replaced_meanwhile(storage: Storage) -> None:
    old = put(storage, "old", PAST)
    listed: list[str] = []

    def read() -> int:
        listed[:] = [item.key for item in storage.list("inputs/catalog/")]
        if listed == [old]:  # what `inputs put --replace` does between our listing and our reading
            put(storage, "new", PAST, PAST)
            storage.delete([old])
        return sum(read_footer(storage, key).num_rows for key in listed)

    assert while_files_change(read) == 2
    with pytest.raises(ObjectNotFound):
        while_files_change(lambda: read_footer(storage, old))


def test_an_empty_table_is_refused(storage: Storage) -> None:
    with pytest.raises(InputError, match="catalog is empty"):
        take_snapshot(storage, "catalog", DAY)
