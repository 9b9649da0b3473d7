from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.errors import InputError
from infra.settings import Settings
from infra.storage import open_storage
from workers.inputs.histories import HISTORIES, Histories, build_histories
from workers.inputs.snapshot import take_snapshot

DAY = date(2026, 11, 22)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("event_time", pa.timestamp("us", "UTC")),
        ("event_type", pa.string()),
    ]
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(storage_uri=tmp_path.as_uri())


def event(user: str, item: str, hours: float) -> dict[str, Any]:
    return {
        "user_id": user,
        "item_id": item,
        "event_time": NOON + timedelta(hours=hours),
        "event_type": "purchase",
    }


def put(settings: Settings, name: str, *events: dict[str, Any]) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(events), SCHEMA), sink, row_group_size=3)
    open_storage(settings).put(f"inputs/interactions/{name}.parquet", sink.getvalue().to_pybytes())


def histories(settings: Settings, max_items: int = 10) -> Histories:
    snapshot = take_snapshot(open_storage(settings), "interactions", DAY)
    return build_histories(partial(open_storage, settings), snapshot, max_items=max_items)


def test_each_user_has_one_row_with_the_newest_items_the_oldest_first(settings: Settings) -> None:
    put(settings, "b", event("u2", "x", -1), event("u1", "c", -1), event("u1", "a", -3))
    put(settings, "a", event("u1", "d", 0), event("u1", "b", -2))
    found = histories(settings, max_items=3)
    assert found.table.schema == HISTORIES
    assert found.table.select(["user_id", "items", "num_events"]).to_pylist() == [
        {"user_id": "u1", "items": ["b", "c", "d"], "num_events": 4},
        {"user_id": "u2", "items": ["x"], "num_events": 1},
    ]


def test_events_of_the_next_day_are_left_out_and_counted(settings: Settings) -> None:
    put(
        settings,
        "a",
        event("u1", "a", -1),
        event("u1", "b", 11.999),
        event("u1", "c", 12),
        event("u2", "d", 30),
    )
    found = histories(settings)
    assert found.table["items"].to_pylist() == [["a", "b"]]
    assert found.num_future == 2


def test_items_bought_again_stay_and_repeated_events_count_once(settings: Settings) -> None:
    put(settings, "a", event("u1", "a", -2), event("u1", "b", -1), event("u1", "a", 0))
    put(settings, "b", event("u1", "a", -2), event("u1", "b", -1))
    found = histories(settings)
    assert found.table["items"].to_pylist() == [["a", "b", "a"]]
    assert (found.total("num_events"), found.total("num_repeated")) == (5, 2)


def test_the_order_of_simultaneous_events_does_not_depend_on_their_files(
    settings: Settings, tmp_path: Path
) -> None:
    put(settings, "a", event("u1", "b", 0), event("u1", "a", 0), event("u1", "c", 0))
    other = Settings(storage_uri=(tmp_path / "other").as_uri())
    put(other, "z", event("u1", "c", 0), event("u1", "b", 0))
    put(other, "y", event("u1", "a", 0))
    assert histories(settings).table.equals(histories(other).table)


def test_only_the_newest_of_ten_thousand_events_are_kept(settings: Settings) -> None:
    put(settings, "a", *(event("u1", f"i{number:05}", -number / 3600) for number in range(10_000)))
    (row,) = histories(settings, max_items=50).table.to_pylist()
    assert row["items"] == [f"i{number:05}" for number in range(49, -1, -1)]
    assert row["num_events"] == 10_000


def test_a_day_before_any_event_has_no_users(settings: Settings) -> None:
    put(settings, "a", event("u1", "a", -1))
    snapshot = take_snapshot(open_storage(settings), "interactions", date(2026, 1, 1))
    assert (
        build_histories(partial(open_storage, settings), snapshot, max_items=5).table.num_rows == 0
    )


def test_an_unknown_engine_is_refused(settings: Settings) -> None:
    put(settings, "a", event("u1", "a", -1))
    snapshot = take_snapshot(open_storage(settings), "interactions", DAY)
    with pytest.raises(InputError, match="duckdb or ray"):
        build_histories(partial(open_storage, settings), snapshot, max_items=5, engine="spark")  # type: ignore[arg-type]
