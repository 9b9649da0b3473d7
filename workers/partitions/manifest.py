"""The manifest of a published partition, `_SUCCESS`: what was published and from what."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from infra.errors import GenerationError, ObjectNotFound
from infra.storage import Storage
from infra.storage.documents import read_document
from workers.partitions.parts import Receipt
from workers.pins import ModelPin, Order, Snapshot
from workers.plans.plan import Plan, Prepared, partition_output_prefix
from workers.quality.gates import Quality

MANIFEST = "_SUCCESS"
RETIRED_FIELDS = frozenset({"supersedes"})
"""Earlier versions wrote these; nothing reads them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What became of the rows. `input_rows = accepted + rejected + quarantined`; `future` rows,
    which are later than the cut, are not among them."""

    input_rows: int
    accepted: int
    rejected: int
    quarantined: int
    future: int

    @property
    def set_aside(self) -> int:
        return self.rejected + self.quarantined


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPart:
    key: str
    rows: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The fields are stored as JSON under these names and in this order."""

    job: str
    job_version: int
    date: str
    fingerprint: str
    attempts: int
    generation: int
    """How many manifests the date has had, this one included."""
    counts: Counts
    quality: Quality
    breaches: tuple[str, ...] = ()
    """The gates that failed but were ignored."""
    model: ModelPin
    settings: Mapping[str, Any]
    snapshot: Snapshot
    orders: tuple[Order, ...]
    prepared: Prepared | None = None
    parts: tuple[PublishedPart, ...]
    seconds: float
    """Wall clock of the run."""
    actor_seconds: float
    wasted_seconds: float = 0.0
    """Spent by actors that were lost."""
    run: str
    """Prefect's id of the flow run."""
    code: str
    """Version of the package."""
    published_at: str

    @property
    def part_keys(self) -> set[str]:
        return {part.key for part in self.parts}

    @property
    def rows_per_second(self) -> float:
        return self.counts.input_rows / self.seconds if self.seconds else 0.0

    @property
    def actor_hours(self) -> float:
        return self.actor_seconds / 3600

    @property
    def model_pins(self) -> list[ModelPin]:
        """The models that made the partition, in the order of their use."""
        return [self.prepared.model, self.model] if self.prepared else [self.model]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, data: bytes | str, key: str) -> "Manifest":
        """Raises InputError, which names `key` and the field, for a field that is missing, mistyped
        or unknown."""
        return read_document(cls, data, key, retired=RETIRED_FIELDS)


@dataclass(frozen=True, slots=True)
class Published:
    """A partition's manifest and the etag to replace it with."""

    manifest: Manifest
    etag: str


def manifest_key(job: str, day: str) -> str:
    return f"{partition_output_prefix(job, day)}{MANIFEST}"


def read_published(storage: Storage, job: str, day: str) -> Published | None:
    """What is published for the date; None if nothing is."""
    key = manifest_key(job, day)
    try:
        data, etag = storage.get_with_etag(key)
    except ObjectNotFound:
        return None
    return Published(Manifest.from_json(data, key), etag)


def is_current(plan: Plan, manifest: Manifest) -> bool:
    """Whether `plan` would give the published rows. How often rejected and quarantined rows were
    retried makes no difference."""
    return replace(plan, attempts=manifest.attempts).fingerprint == manifest.fingerprint


def is_whole(storage: Storage, manifest: Manifest) -> bool:
    """Whether the store holds every part that the manifest lists, with the listed size."""
    return not absent_parts(storage, manifest)


def absent_parts(storage: Storage, manifest: Manifest) -> list[str]:
    """The keys of listed parts that the store lacks or holds with another size."""
    prefix = partition_output_prefix(manifest.job, manifest.date)
    sizes = {item.key: item.size_bytes for item in storage.list(prefix)}
    return absent_among(sizes, manifest)


def absent_among(sizes: Mapping[str, int], manifest: Manifest) -> list[str]:
    """The keys of listed parts that `sizes`, a listing by key, lacks or gives another size."""
    return [part.key for part in manifest.parts if sizes.get(part.key) != part.size_bytes]


def make_manifest(
    plan: Plan,
    receipts: Sequence[Receipt],
    quality: Quality,
    seconds: float,
    run: str,
    before: Published | None,
    breaches: Sequence[str] = (),
) -> Manifest:
    """The manifest that is to replace `before`, what was published when the run began. `breaches`
    are the gates that failed but were ignored.

    Raises GenerationError unless every shard has a receipt and every input row is accounted for.
    """
    if [receipt.shard for receipt in receipts] != list(range(plan.num_shards)):
        raise GenerationError(f"{len(receipts)} receipts for {plan.num_shards} shards")
    counts = _add_up(receipts)
    num_rows = counts.input_rows + counts.future
    if num_rows != plan.num_rows:
        raise GenerationError(f"the shards hold {num_rows} rows, the plan {plan.num_rows}")
    if counts.accepted + counts.set_aside != counts.input_rows:
        raise GenerationError(f"rows were lost or made up: {counts}")
    generation = before.manifest.generation + 1 if before else 1
    parts = [
        PublishedPart(
            key=output_key(plan, receipt.shard, generation),
            rows=receipt.accepted,
            size_bytes=receipt.size_bytes,
            sha256=receipt.sha256,
        )
        for receipt in receipts
    ]
    return Manifest(
        job=plan.job,
        job_version=plan.job_version,
        date=plan.date,
        fingerprint=plan.fingerprint,
        attempts=plan.attempts,
        generation=generation,
        counts=counts,
        quality=quality,
        breaches=tuple(breaches),
        model=plan.model,
        settings=plan.settings,
        snapshot=plan.snapshot,
        orders=plan.orders,
        prepared=plan.prepared,
        parts=tuple(parts),
        seconds=round(seconds, 3),
        actor_seconds=round(sum(receipt.seconds for receipt in receipts), 3),
        wasted_seconds=round(sum(receipt.wasted_seconds for receipt in receipts), 3),
        run=run,
        code=version("nightshift"),
        published_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _add_up(receipts: Sequence[Receipt]) -> Counts:
    return Counts(
        input_rows=sum(receipt.input_rows for receipt in receipts),
        accepted=sum(receipt.accepted for receipt in receipts),
        rejected=sum(receipt.rejected for receipt in receipts),
        quarantined=sum(receipt.quarantined for receipt in receipts),
        future=sum(receipt.future for receipt in receipts),
    )


def snapshots(pinned: Plan | Manifest) -> list[Snapshot]:
    """The snapshots of all tables that a plan or a manifest pins."""
    prepared = pinned.prepared
    return [pinned.snapshot, *(prepared.snapshots if prepared else ())]


def output_key(plan: Plan, shard: int, generation: int) -> str:
    """A name that no other manifest of the date lists: a part that is being read is never
    overwritten, and a late delete of superseded parts never removes live ones."""
    prefix = partition_output_prefix(plan.job, plan.date)
    return f"{prefix}part-{shard:06d}-{generation}-{plan.fingerprint[:8]}.parquet"


def generation_in(key: str) -> int:
    """The generation in a part's name; 0 for a name that `output_key` did not make."""
    words = key.rpartition("/part-")[2].split("-")
    return int(words[1]) if len(words) == 3 and words[1].isdecimal() else 0
