"""Each user's history up to the end of a day: the newest items, oldest first.

Two engines give the same rows: DuckDB on this machine, and Ray Data for large tables or a cluster.
Events at the same time are ordered by item, so that a history depends neither on the files nor on
the engine. Repeated events count once.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Literal, get_args

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from infra.errors import InputError, NightshiftError
from infra.storage import Storage
from infra.storage.parquet import iter_batches, open_parquet
from workers.inputs.rows import Place
from workers.inputs.tables import TIMESTAMP
from workers.pins import Snapshot

Engine = Literal["duckdb", "ray"]
ENGINES: tuple[Engine, ...] = get_args(Engine)

EVENTS = pa.schema(
    [
        pa.field("user_id", pa.string()),
        pa.field("item_id", pa.string()),
        pa.field("event_time", TIMESTAMP),
        pa.field("event_type", pa.string()),
    ]
)
HISTORIES = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("items", pa.list_(pa.string()), nullable=False),
        pa.field("num_events", pa.int64(), nullable=False),
        pa.field("num_repeated", pa.int64(), nullable=False),
        pa.field("newest", TIMESTAMP, nullable=False),
    ]
)
"""One row for each user, sorted by id. `num_events` counts all events before the cut,
`num_repeated` those that repeat another event; `newest` is the time of the last event."""
ORDER = [("event_time", "ascending"), ("item_id", "ascending"), ("event_type", "ascending")]
MEMORY_LIMIT = "1GB"
NUM_PARTITIONS = 8
"""Partitions of Ray Data's hash shuffle."""

GROUPED = """
    select
        user_id,
        list(item_id order by place) as items,
        any_value(num_distinct + num_repeated) as num_events,
        any_value(num_repeated)::bigint as num_repeated,
        max(event_time) as newest
    from (
        select
            user_id, item_id, event_time,
            row_number() over (
                partition by user_id order by event_time, item_id, event_type
            ) as place,
            count(*) over (partition by user_id) as num_distinct,
            sum(copies - 1) over (partition by user_id) as num_repeated
        from (
            select user_id, item_id, event_time, event_type, count(*) as copies
            from events
            group by all
        )
    )
    where place > num_distinct - $max_items
    group by user_id
    order by user_id
"""


@dataclass(frozen=True, slots=True)
class Histories:
    table: pa.Table
    """`HISTORIES`."""
    num_future: int
    """Events left out because they are not before the cut."""

    def total(self, column: str) -> int:
        return pc.sum(self.table[column]).as_py() or 0


def build_histories(
    open_store: Callable[[], Storage],
    snapshot: Snapshot,
    *,
    max_items: int,
    engine: Engine = "duckdb",
) -> Histories:
    """Each user's `max_items` newest items before the snapshot's cut.

    The engine `ray` needs a connected cluster with a free CPU, and opens the store in its workers.
    Raises InputError for an unknown engine, and for an event without user, item, time or type.
    """
    if engine not in ENGINES:
        raise InputError(f"{engine!r} is not a history engine: choose {' or '.join(ENGINES)}")
    build = _build_by_duckdb if engine == "duckdb" else _build_by_ray
    table = build(open_store, snapshot, max_items).cast(HISTORIES)
    num_past = pc.sum(table["num_events"]).as_py() or 0
    return Histories(table, num_future=snapshot.num_rows - num_past)


def _past_events(storage: Storage, key: str, cut: str) -> Iterator[pa.Table]:
    """The events of one file before the cut, batch by batch; raises InputError for a null."""
    end = pa.scalar(datetime.fromisoformat(cut), TIMESTAMP)
    rows_before = 0
    with open_parquet(storage, key) as file:
        for batch in iter_batches(file, columns=EVENTS.names):
            _check_complete(batch, key, rows_before)
            rows_before += batch.num_rows
            columns = [batch[field.name].cast(field.type, safe=False) for field in EVENTS]
            rows = pa.table(columns, schema=EVENTS)
            yield rows.filter(pc.less(rows["event_time"], end))


def _check_complete(batch: pa.RecordBatch, key: str, rows_before: int) -> None:
    for name in EVENTS.names:
        if batch[name].null_count:
            index = batch[name].is_null().index(True).as_py()
            expected = "a value (`nightshift inputs put` checks files before it loads them)"
            raise Place(key, name, rows_before).refuse(index, "null", expected)


def _build_by_duckdb(
    open_store: Callable[[], Storage], snapshot: Snapshot, max_items: int
) -> pa.Table:
    storage = open_store()
    failures: list[NightshiftError] = []

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            for item in snapshot.objects:
                for table in _past_events(storage, item.key, snapshot.cut):
                    yield from table.to_batches()
        except NightshiftError as exc:  # DuckDB would replace it with an error of its own
            failures.append(exc)
            raise

    with duckdb.connect(config={"memory_limit": MEMORY_LIMIT}) as connection:
        connection.register("events", pa.RecordBatchReader.from_batches(EVENTS, batches()))
        try:
            return connection.sql(GROUPED, params={"max_items": max_items}).to_arrow_table()
        except duckdb.Error:
            for failure in failures:
                raise failure from None
            raise


def _build_by_ray(
    open_store: Callable[[], Storage], snapshot: Snapshot, max_items: int
) -> pa.Table:
    import ray  # noqa: PLC0415  # takes seconds, and DuckDB does not need it
    from ray.data import DataContext  # noqa: PLC0415
    from ray.data.context import ShuffleStrategy  # noqa: PLC0415

    context = DataContext.get_current()
    context.shuffle_strategy = ShuffleStrategy.HASH_SHUFFLE
    context.enable_progress_bars = False

    def read(files: pa.Table) -> Iterator[pa.Table]:
        storage = open_store()
        for key in files["key"].to_pylist():
            yield from _past_events(storage, key, snapshot.cut)

    files = ray.data.from_items([{"key": item.key} for item in snapshot.objects])
    events = files.map_batches(read, batch_size=1, batch_format="pyarrow")
    grouped = events.groupby("user_id", num_partitions=NUM_PARTITIONS)
    build_row = partial(_history_of_user, max_items=max_items)
    histories = grouped.map_groups(build_row, batch_format="pyarrow")
    parts = [part for part in ray.get(histories.to_arrow_refs()) if part.num_rows]
    return pa.concat_tables(parts).sort_by("user_id") if parts else HISTORIES.empty_table()


def _history_of_user(group: pa.Table, max_items: int) -> pa.Table:
    """One row of `HISTORIES` from all events of one user."""
    distinct = group.group_by(EVENTS.names).aggregate([]).select(EVENTS.names).sort_by(ORDER)
    row = {
        "user_id": [distinct["user_id"][0].as_py()],
        "items": [distinct["item_id"][-max_items:].to_pylist()],
        "num_events": [group.num_rows],
        "num_repeated": [group.num_rows - distinct.num_rows],
        "newest": [distinct["event_time"][-1].as_py()],
    }
    return pa.table(row, schema=HISTORIES)
