"""The manifest of a published partition, `_SUCCESS`: what was published, from what, and what it
supersedes."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from infra.errors import GenerationError, ObjectNotFound
from infra.storage import Storage
from workers.partitions.parts import Receipt
from workers.plans.plan import Plan, partition_output_prefix
from workers.quality.gates import Quality

MANIFEST = "_SUCCESS"


@dataclass(frozen=True, slots=True)
class Published:
    """A partition's manifest and the etag to replace it with."""

    manifest: dict[str, Any]
    etag: str

    @property
    def fingerprint(self) -> str:
        return self.manifest["fingerprint"]

    @property
    def attempts(self) -> int:
        return self.manifest["attempts"]

    @property
    def generation(self) -> int:
        """How many manifests the date has had."""
        return self.manifest["generation"]

    @property
    def part_keys(self) -> set[str]:
        return part_keys(self.manifest)


def manifest_key(job: str, day: str) -> str:
    return f"{partition_output_prefix(job, day)}{MANIFEST}"


def read_published(storage: Storage, job: str, day: str) -> Published | None:
    """What is published for the date, None if nothing is."""
    try:
        data, etag = storage.get_with_etag(manifest_key(job, day))
    except ObjectNotFound:
        return None
    return Published(json.loads(data), etag)


def is_current(plan: Plan, published: Published) -> bool:
    """Whether `plan` would give what is published; how often set-aside rows were tried makes no
    difference."""
    return replace(plan, attempts=published.attempts).fingerprint == published.fingerprint


def is_whole(storage: Storage, published: Published) -> bool:
    """Whether every part that the manifest names is there, with the size it names."""
    return not absent_parts(storage, published.manifest)


def absent_parts(storage: Storage, manifest: dict[str, Any]) -> list[str]:
    """The parts that the manifest names and the store has not, or not with that size."""
    prefix = partition_output_prefix(manifest["job"], manifest["date"])
    sizes = {item.key: item.size_bytes for item in storage.list(prefix)}
    return [
        part["key"] for part in manifest["parts"] if sizes.get(part["key"]) != part["size_bytes"]
    ]


def part_keys(manifest: dict[str, Any]) -> set[str]:
    return {part["key"] for part in manifest["parts"]}


def make_manifest(
    plan: Plan,
    receipts: list[Receipt],
    quality: Quality,
    seconds: float,
    run: str,
    before: Published | None,
    breaches: Sequence[str] = (),
) -> dict[str, Any]:
    """The manifest that is to replace `before`, what was published when the run began. `breaches`:
    the gates that it is published in spite of.

    Raises GenerationError unless every shard has a receipt and every input row is accounted for.
    """
    if [receipt.shard for receipt in receipts] != list(range(plan.num_shards)):
        raise GenerationError(f"{len(receipts)} receipts for {plan.num_shards} shards")
    names = ("input_rows", "accepted", "rejected", "quarantined", "future")
    counts = {name: sum(getattr(receipt, name) for receipt in receipts) for name in names}
    if counts["input_rows"] + counts["future"] != plan.num_rows:
        raise GenerationError(f"the shards hold {counts} rows, the plan {plan.num_rows}")
    if counts["accepted"] + counts["rejected"] + counts["quarantined"] != counts["input_rows"]:
        raise GenerationError(f"rows were lost or made up: {counts}")
    generation = before.generation + 1 if before else 1
    manifest = {
        "job": plan.job,
        "job_version": plan.job_version,
        "date": plan.date,
        "fingerprint": plan.fingerprint,
        "attempts": plan.attempts,
        "generation": generation,
        "counts": counts,
        "quality": quality,
        "breaches": list(breaches),
        "model": asdict(plan.model),
        "settings": dict(plan.settings),
        "snapshot": asdict(plan.snapshot),
        "orders": [asdict(order) for order in plan.orders],
        "prepared": asdict(plan.prepared) if plan.prepared else None,
        "parts": [
            {
                "key": output_key(plan, receipt.shard, generation),
                "rows": receipt.accepted,
                "size_bytes": receipt.size_bytes,
                "sha256": receipt.sha256,
            }
            for receipt in receipts
        ],
        "seconds": round(seconds, 3),
        "actor_seconds": round(sum(receipt.seconds for receipt in receipts), 3),
        "wasted_seconds": round(sum(receipt.wasted_seconds for receipt in receipts), 3),
        "run": run,
        "code": version("nightshift"),
        "published_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    # Also what `before` superseded itself, should its publisher have died before removing it.
    old = before.part_keys | set(before.manifest["supersedes"]) if before else set()
    return manifest | {"supersedes": sorted(old - part_keys(manifest))}


def snapshots(pinned: dict[str, Any]) -> list[dict[str, Any]]:
    """Of all the tables that a manifest (or a plan, as a dict) pins."""
    prepared = pinned.get("prepared")
    return [pinned["snapshot"], *(prepared["snapshots"] if prepared else [])]


def model_pins(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The models that made the partition, in the order of their use."""
    prepared = manifest.get("prepared")
    return [prepared["model"], manifest["model"]] if prepared else [manifest["model"]]


def output_key(plan: Plan, shard: int, generation: int) -> str:
    """A name that no other manifest of the date has: what is being read is never overwritten, and a
    late delete of superseded parts never meets living ones."""
    prefix = partition_output_prefix(plan.job, plan.date)
    return f"{prefix}part-{shard:06d}-{generation}-{plan.fingerprint[:8]}.parquet"


def generation_of(key: str) -> int:
    """The generation that a part's name holds; 0 for a name that is none of ours."""
    words = key.rpartition("/part-")[2].split("-")
    return int(words[1]) if len(words) == 3 and words[1].isdecimal() else 0
