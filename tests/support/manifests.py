"""A complete manifest for tests that need only a few of its fields."""

from dataclasses import replace
from typing import Any

from workers.partitions.manifest import Counts, Manifest, PublishedPart
from workers.pins import ModelPin, Snapshot

COPYWRITER = ModelPin("copywriter", "2026-11-22-gpt-00000000", "0" * 64, "2026-11-22")
MANIFEST = Manifest(
    job="product_descriptions",
    job_version=1,
    date="2026-11-22",
    fingerprint="0123456789abcdef",
    attempts=1,
    generation=1,
    counts=Counts(input_rows=1239, accepted=1234, rejected=5, quarantined=0, future=0),
    quality={
        "passed_share": 0.996,
        "duplicate_share": 0.0,
        "distinct_2": 0.31,
        "mean_length": 21.5,
    },
    model=COPYWRITER,
    settings={"seed": 0},
    snapshot=Snapshot("catalog", "2026-11-23T00:00:00+00:00", ()),
    orders=(),
    parts=(PublishedPart(key="part.parquet", rows=1234, size_bytes=9, sha256="0" * 64),),
    seconds=10.0,
    actor_seconds=8.0,
    wasted_seconds=1.5,
    run="run",
    code="0.1.0",
    published_at="2026-11-23T02:00:00+00:00",
)


def a_manifest(**changes: Any) -> Manifest:
    return replace(MANIFEST, **changes)


def some_parts(*keys: str, rows: int = 1) -> tuple[PublishedPart, ...]:
    return tuple(PublishedPart(key=key, rows=rows, size_bytes=1, sha256="0" * 64) for key in keys)
