import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.errors import InputError
from infra.storage.files import FileStorage
from tests.support.manifests import MANIFEST
from workers.partitions.manifest import Manifest, generation_in, manifest_key, read_published
from workers.pins import InputObject, ModelPin, Order, Snapshot
from workers.plans.plan import Prepared

PIN = {
    "name": "copywriter",
    "version": "2026-11-22-gpt-00000000",
    "weights_sha256": "0" * 64,
    "through": "2026-11-22",
}
SNAPSHOT = {
    "table": "catalog",
    "cut": "2026-11-23T00:00:00+00:00",
    "objects": [{"key": "a.parquet", "etag": "e", "size_bytes": 1, "row_groups": [2, 3]}],
}
STORED: dict[str, Any] = {
    "job": "product_descriptions",
    "job_version": 1,
    "date": "2026-11-22",
    "fingerprint": "0123456789abcdef",
    "attempts": 1,
    "generation": 1,
    "counts": {"input_rows": 1239, "accepted": 1234, "rejected": 5, "quarantined": 0, "future": 0},
    "quality": {
        "passed_share": 0.996,
        "duplicate_share": 0.0,
        "distinct_2": 0.31,
        "mean_length": 21.5,
    },
    "breaches": ["distinct_2 is 0.31, the limit is 0.4"],
    "model": PIN,
    "settings": {"seed": 0},
    "snapshot": SNAPSHOT,
    "orders": [{"label": 0, "label_name": "disc", "num_rows": 2}],
    "prepared": {
        "snapshots": [SNAPSHOT],
        "model": PIN,
        "objects": [],
        "summary": {"counts": {"users": 3}},
    },
    "parts": [{"key": "part.parquet", "rows": 1234, "size_bytes": 9, "sha256": "0" * 64}],
    "seconds": 10.0,
    "actor_seconds": 8.0,
    "wasted_seconds": 1.5,
    "run": "run",
    "code": "0.1.0",
    "published_at": "2026-11-23T02:00:00+00:00",
}
CATALOG = Snapshot(
    "catalog", "2026-11-23T00:00:00+00:00", (InputObject("a.parquet", "e", 1, (2, 3)),)
)
READ = replace(
    MANIFEST,
    breaches=("distinct_2 is 0.31, the limit is 0.4",),
    snapshot=CATALOG,
    orders=(Order(0, "disc", 2),),
    prepared=Prepared(
        snapshots=(CATALOG,), model=ModelPin(**PIN), summary={"counts": {"users": 3}}
    ),
)


def test_the_stored_keys_and_their_order_are_these() -> None:
    assert READ.to_json() == json.dumps(STORED, indent=1)
    assert Manifest.from_json(json.dumps(STORED), "key") == READ


def test_a_manifest_of_an_earlier_version_is_read() -> None:
    early = STORED | {"supersedes": ["outputs/part.parquet"]}
    assert Manifest.from_json(json.dumps(early), "key") == READ
    for name in ("breaches", "prepared", "wasted_seconds"):
        del early[name]
    assert Manifest.from_json(json.dumps(early), "key").prepared is None


def test_a_manifest_that_cannot_be_read_is_named_with_its_field(tmp_path: Path) -> None:
    storage, key = FileStorage(tmp_path.as_uri()), manifest_key("j", "2026-11-22")
    storage.put(key, json.dumps(STORED | {"counts": {"input_rows": 1}}).encode())
    with pytest.raises(InputError, match=f"{key} lacks the field counts.accepted"):
        read_published(storage, "j", "2026-11-22")


def test_a_manifest_of_a_newer_version_asks_for_an_update() -> None:
    parts = [STORED["parts"][0] | {"colour": "red"}]
    newer = json.dumps(STORED | {"parts": parts})
    with pytest.raises(InputError, match=r"unknown field parts\[0\].colour: .* update this one"):
        Manifest.from_json(newer, "key")


@pytest.mark.parametrize(
    ("name", "generation"),
    [("part-000000-12-beef0000.parquet", 12), ("part-000000.parquet", 0), ("part-a-b-c", 0)],
)
def test_a_part_names_its_generation(name: str, generation: int) -> None:
    assert generation_in(f"outputs/j/dt=2026-11-22/{name}") == generation
