import json
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from infra.settings import Settings
from infra.storage import Storage, open_storage
from infra.storage.parquet import encode
from workers.partitions.manifest import Manifest, make_manifest, output_key
from workers.partitions.parts import Receipt
from workers.pins import InputObject, ModelPin, Snapshot
from workers.plans.plan import Plan, Prepared
from workers.plans.prepared_rows import EXAMPLES_KEY, SUMMARY_KEY, find_prepared
from workers.report.people import Person, Recommended, example_people
from workers.report.trend import draw_trend, last_nights

DAY = "2026-11-22"
EXAMPLES = [
    {
        "user_id": "u1",
        "history": ["The old one"],
        "num_items": 7,
        "titles": {"a": "The A", "old": "The old one"},
    },
    {"user_id": "u2", "history": [], "num_items": 0, "titles": {"b": "The B"}},
    {"user_id": "u3", "history": ["The A"], "num_items": 1, "titles": {}},
]
SUMMARY = {"counts": {"users": 3}, "quality": {"ndcg_10": 0.1}}
SETTINGS = {"rows_per_shard": 10, "num_items": 1}
ROWS = pa.table(
    {
        "user_id": ["u1", "u2"],
        "item_id": ["a", "b"],
        "because_item_id": ["old", None],
        "text": ["Take the A.", "Take the B."],
    }
)


@pytest.fixture
def storage(tmp_path: Any) -> Storage:
    return open_storage(Settings(storage_uri=f"file://{tmp_path}"))


def prepared_plan(storage: Storage, day: str = DAY) -> Plan:
    snapshot = Snapshot("interactions", f"{day}T24:00:00+00:00", ())
    catalog = Snapshot(
        "catalog", f"{day}T24:00:00+00:00", (InputObject("inputs/catalog/a.parquet", "e", 1, (2,)),)
    )
    pin, writer = (ModelPin(name, "v1", "0" * 64, DAY) for name in ("recommender", "copywriter"))
    bare = Plan(
        "recommendation_texts",
        1,
        day,
        snapshot,
        writer,
        SETTINGS,
        prepared=Prepared(snapshots=(catalog,), model=pin),
    )
    assert find_prepared(storage, bare) is None
    storage.put(
        bare.prepared_key,
        encode(
            ROWS,
            ROWS.schema,
            {SUMMARY_KEY: json.dumps(SUMMARY), EXAMPLES_KEY: json.dumps(EXAMPLES)},
        ),
    )
    found = find_prepared(storage, bare)
    assert found is not None
    return found


def published(storage: Storage, day: str = DAY) -> Manifest:
    plan = prepared_plan(storage, day)
    receipt = Receipt(
        shard=0,
        fingerprint=plan.fingerprint,
        input_rows=2,
        accepted=2,
        rejected=0,
        quarantined=0,
        future=0,
    )
    storage.put(output_key(plan, 0, 1), encode(ROWS, ROWS.schema, {}))
    manifest = make_manifest(
        plan, [receipt], {"passed_share": 1.0, "ndcg_10": 0.1}, 1.0, "run", None
    )
    storage.put(f"outputs/{plan.job}/dt={day}/_SUCCESS", manifest.to_json().encode())
    return manifest


def test_people_are_shown_without_their_ids(storage: Storage) -> None:
    manifest = published(storage)
    assert example_people(storage, manifest) == [
        Person(["The old one"], 7, [Recommended("The A", "The old one", "Take the A.")]),
        Person([], 0, [Recommended("The B", "", "Take the B.")]),
    ]
    assert "u1" not in manifest.to_json()
    assert [pin.name for pin in manifest.model_pins] == ["recommender", "copywriter"]
    assert manifest.prepared is not None
    storage.delete([manifest.prepared.objects[0].key])
    assert example_people(storage, manifest) == []
    assert example_people(storage, replace(manifest, prepared=None)) == []


def test_figures_of_the_last_thirty_nights_are_drawn(storage: Storage) -> None:
    first = published(storage, "2026-11-20")
    assert draw_trend(last_nights(storage, first)) == ""
    published(storage, "2026-09-01")
    last = published(storage)
    assert [night.date for night in last_nights(storage, last)] == ["2026-11-20", DAY]
    chart = draw_trend(last_nights(storage, last))
    assert chart.startswith("<svg")
    assert "NDCG@10 of the recommender" in chart
    assert "share passed" in chart
