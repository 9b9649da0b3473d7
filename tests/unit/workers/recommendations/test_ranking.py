from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from aigc_models.recommenders.model import Recommender
from aigc_models.recommenders.settings import default_recommender_settings
from aigc_models.recommenders.training import train_recommender
from infra.errors import InputError
from infra.settings import Settings
from infra.storage import Storage, open_storage
from infra.storage.parquet import encode
from workers.inputs.histories import EVENTS
from workers.inputs.snapshot import read_inputs
from workers.inputs.tables import ATTRIBUTES
from workers.jobs.recommendation_texts import JOB
from workers.plans.planning import plan_date
from workers.recommendations.ranked_rows import RANKED
from workers.recommendations.ranking import RankedItems
from workers.registry.versions import ModelVersion, publish_version

DAY = date(2026, 11, 22)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ITEMS = [f"item-{number}" for number in range(9)]
NEW = "item-new"
Event = tuple[str, str, datetime]


def events(num_users: int = 40) -> list[Event]:
    """Each user goes round the items, one per hour."""
    return [
        (f"user-{user:02}", ITEMS[(user + step) % 9], NOON + timedelta(hours=step - 4))
        for user in range(num_users)
        for step in range(4)
    ]


def put_events(storage: Storage, found: Sequence[Event], name: str = "a") -> None:
    rows = [
        {"user_id": user, "item_id": item, "event_time": at, "event_type": "purchase"}
        for user, item, at in found
    ]
    table = pa.Table.from_pylist(rows, EVENTS)
    storage.put(f"inputs/interactions/{name}.parquet", encode(table, table.schema, {}))


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recommender")
    changes = {
        "max_steps": 60,
        "cpu_budget_s": None,
        "width": 8,
        "batch_tokens": 64,
        "num_scored": 4,
    }
    settings = default_recommender_settings("gru", **changes)
    histories = [[ITEMS[(user + step) % 9] for step in range(4)] for user in range(60)]
    train_recommender(histories, folder / "model", settings=settings, work_dir=folder / "work")
    return folder / "model"


@pytest.fixture
def storage(tmp_path: Path, model_folder: Path) -> Storage:
    """A store with all known items but one, a new item, and a recommender."""
    storage = open_storage(Settings(storage_uri=(tmp_path / "store").as_uri()))
    sold = [*ITEMS[1:], NEW]
    facts = [
        [
            {"key": "colour", "value": "red"},
            {"key": "shape", "value": "round" if item == ITEMS[1] else "square"},
        ]
        for item in sold
    ]
    columns = {"product_id": sold, "title": [f"The {item}" for item in sold]}
    table = pa.table(columns | {"attributes": pa.array(facts, ATTRIBUTES)})
    storage.put("inputs/catalog/a.parquet", encode(table, table.schema, {}))
    version = ModelVersion(
        name="recommender",
        version="v1",
        family="gru",
        through=DAY.isoformat(),
        weights_sha256="0" * 64,
        training="t",
        trained_on={},
        metrics={"ndcg_10": 0.5, "hr_10": 0.75},
    )
    publish_version(storage, model_folder, version)
    return storage


def ranked(
    storage: Storage, model_folder: Path, **settings: Any
) -> tuple[pa.Table, dict[str, Any]]:
    """The prepared rows and their summary."""
    pins = [version.pin for version in (VERSION, VERSION)]
    parsed = JOB.parse_settings(settings)
    plan = plan_date(
        storage, JOB, DAY, [read_inputs(storage, table) for table in JOB.tables], pins, parsed
    )
    shares: list[float] = []
    preparer = RankedItems(
        lambda: storage,
        plan,
        Recommender.load(model_folder),
        parsed,
        lambda done, doing: shares.append(done),
    )
    table = pa.Table.from_batches(preparer.batches(), RANKED)
    assert shares
    return table, {**preparer.summary(), "examples": preparer.examples()}


VERSION = ModelVersion(
    name="recommender",
    version="v1",
    family="gru",
    through="",
    weights_sha256="",
    training="",
    trained_on={},
)


def test_each_user_gets_the_best_items_and_the_reasons_for_them(
    storage: Storage, model_folder: Path
) -> None:
    put_events(storage, events())
    rows, summary = ranked(storage, model_folder, num_items=2)
    assert rows.num_rows == 80
    assert rows["rank"].to_pylist() == [1, 2] * 40
    assert rows["user_id"].to_pylist() == sorted(rows["user_id"].to_pylist())
    assert len(set(rows["recommendation_id"].to_pylist())) == 80
    first = rows.slice(2, 1).to_pylist()[0]  # of user-01, who took items 1 to 4
    assert (first["item_id"], first["because_item_id"], first["title"]) == (
        "item-5",
        "item-4",
        "The item-5",
    )
    assert first["shared"] == ["colour", "shape"]
    assert first["night"] == DAY.toordinal()
    assert ITEMS[0] not in rows["item_id"].to_pylist(), "it is not in the catalogue"
    assert summary["quality"] | {"popularity_lift": 0.0} == {
        "ndcg_10": 0.5,
        "hr_10": 0.75,
        "coverage": len(set(rows["item_id"].to_pylist())) / 9,
        "popularity_lift": 0.0,
    }
    assert [example["user_id"] for example in summary["examples"]] == [
        f"user-{number:02}" for number in range(5)
    ]
    assert summary["examples"][1]["history"] == [f"The item-{number}" for number in (1, 2, 3, 4)]


def test_odd_users_and_events_are_served_and_counted(storage: Storage, model_folder: Path) -> None:
    late = [
        ("user-00", "item-5", NOON + timedelta(days=1)),
        ("user-of-tomorrow", "item-5", NOON + timedelta(days=2)),
    ]
    busy = [("busy", ITEMS[1 + step % 8], NOON - timedelta(seconds=step)) for step in range(10_000)]
    strange = [
        ("once", "item-2", NOON),
        ("stranger", "thing", NOON),
        ("sleeper", "item-3", NOON - timedelta(days=50)),
    ]
    put_events(storage, events(2) + late + busy + strange)
    put_events(storage, events(2), "again")
    rows, summary = ranked(storage, model_folder, num_items=3, max_history=7)
    users = rows["user_id"].value_counts().to_pylist()
    assert {pair["values"]: pair["counts"] for pair in users} == {
        "user-00": 3, "user-01": 3, "once": 3, "stranger": 3, "busy": 2
    }, "the one who has nearly everything gets the two that are left"  # fmt: skip
    assert list(summary["counts"].values()) == [6, 5, 3, 1, 1, 8 + 8 + 10_003, 8, 2, 2, 2, 9, 1]
    assert all(
        row["because_item_id"] is None for row in rows.to_pylist() if row["user_id"] == "stranger"
    )
    everybody, _ = ranked(storage, model_folder, active_days=0)
    assert "sleeper" in everybody["user_id"].to_pylist()
    again, _ = ranked(storage, model_folder, leave_out_seen=False)
    assert again.num_rows == 15
    whole, _ = ranked(storage, model_folder)
    found = [row["item_id"] for row in whole.to_pylist() if row["user_id"] == "busy"]
    assert found == [NEW], "of ten thousand events the oldest counts, too"


def test_later_events_change_no_byte(storage: Storage, model_folder: Path) -> None:
    put_events(storage, events())
    before, _ = ranked(storage, model_folder)
    later = [(user, ITEMS[1], at + timedelta(days=1)) for user, _, at in events()]
    put_events(storage, [*later, *events(), ("newcomer", ITEMS[2], NOON + timedelta(hours=12))])
    put_events(storage, later, "b")
    after, _ = ranked(storage, model_folder)
    assert encode(before, RANKED, {}) == encode(after, RANKED, {})


def test_a_new_product_is_recommended_like_similar_products(
    storage: Storage, model_folder: Path
) -> None:
    put_events(storage, events())
    rows, summary = ranked(storage, model_folder, num_items=9)
    assert NEW in rows["item_id"].to_pylist()
    assert summary["counts"]["products without events, found by their attributes"] == 1


def test_a_night_without_active_users_says_what_to_do(storage: Storage, model_folder: Path) -> None:
    put_events(storage, [(user, item, at - timedelta(days=90)) for user, item, at in events()])
    with pytest.raises(
        InputError,
        match=r"no user .* in the 30 days up to 2026-11-22; .* 2026-08-24.*active_days=0",
    ):
        ranked(storage, model_folder)
    rows, _ = ranked(storage, model_folder, active_days=0)
    assert rows.num_rows == 120


def test_a_catalogue_of_the_future_is_refused(storage: Storage, model_folder: Path) -> None:
    put_events(storage, events())
    columns = {
        "product_id": ["a"],
        "attributes": pa.array([[]], ATTRIBUTES),
        "updated_at": [NOON + timedelta(days=9)],
    }
    table = pa.table(columns)
    storage.put("inputs/catalog/a.parquet", encode(table, table.schema, {}))
    with pytest.raises(
        InputError, match="no product of catalog is from before the end of 2026-11-22"
    ):
        ranked(storage, model_folder)


@pytest.mark.parametrize("column", ["user_id", "item_id", "event_time"])
def test_an_incomplete_event_is_named(storage: Storage, model_folder: Path, column: str) -> None:
    rows = [{"user_id": "u", "item_id": "i", "event_time": NOON, "event_type": "purchase"}] * 3
    table = pa.Table.from_pylist([*rows, rows[0] | {column: None}], EVENTS)
    storage.put("inputs/interactions/a.parquet", encode(table, table.schema, {}))
    with pytest.raises(InputError, match=rf"a.parquet, row 4, column {column}: found null"):
        ranked(storage, model_folder)
