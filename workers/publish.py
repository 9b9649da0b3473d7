"""Publishing a partition: copy its parts, swap the manifest, remove what the swap superseded.

`_SUCCESS` is the manifest. It is moved by one compare-and-swap: of several publishers one wins, and the others find out
whether it published the same. A publisher that dies before the swap has published nothing; one that dies after it
leaves superseded parts behind, named in the new manifest, that the next run of the date removes.
"""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any

from infra.errors import GenerationError, ObjectNotFound, PreconditionFailed, StorageError
from infra.storage import Storage
from workers.checks import Quality
from workers.part import Receipt, list_parts, part_key
from workers.plan import Plan, partition_output_prefix, partition_work_prefix

MANIFEST = "_SUCCESS"
COPIES_AT_ONCE = 16
ORPHAN_AGE = timedelta(hours=1)
"""Copies that no manifest names may belong to a publisher at work until they are this old."""


@dataclass(frozen=True, slots=True)
class Published:
    """A partition's manifest and the etag to replace it with."""

    manifest: dict[str, Any]
    etag: str

    @property
    def fingerprint(self) -> str:
        return self.manifest["fingerprint"]


def read_published(storage: Storage, job: str, day: str) -> Published | None:
    """What is published for the date, None if nothing is."""
    try:
        data, etag = storage.get_with_etag(f"{partition_output_prefix(job, day)}{MANIFEST}")
    except ObjectNotFound:
        return None
    return Published(json.loads(data), etag)


def output_key(plan: Plan, shard: int) -> str:
    """Part names hold the fingerprint, so that a new partition never overwrites the one that is being read."""
    return f"{partition_output_prefix(plan.job, plan.date)}part-{shard:06d}-{plan.fingerprint[:8]}.parquet"


def make_manifest(plan: Plan, receipts: list[Receipt], quality: Quality, seconds: float, run: str) -> dict[str, Any]:
    """Raises GenerationError unless every shard has a receipt and every input row is accounted for."""
    if [receipt.shard for receipt in receipts] != list(range(plan.num_shards)):
        raise GenerationError(f"{len(receipts)} receipts for {plan.num_shards} shards")
    names = ("input_rows", "accepted", "rejected", "quarantined", "future")
    counts = {name: sum(getattr(receipt, name) for receipt in receipts) for name in names}
    if counts["input_rows"] + counts["future"] != plan.snapshot.num_rows:
        raise GenerationError(f"the shards hold {counts} rows, the inputs {plan.snapshot.num_rows}")
    return {
        "job": plan.job,
        "job_version": plan.job_version,
        "date": plan.date,
        "fingerprint": plan.fingerprint,
        "counts": counts,
        "quality": quality,
        "model": asdict(plan.model),
        "settings": dict(plan.settings),
        "snapshot": asdict(plan.snapshot),
        "parts": [
            {
                "key": output_key(plan, receipt.shard),
                "rows": receipt.accepted,
                "size_bytes": receipt.size_bytes,
                "sha256": receipt.sha256,
            }
            for receipt in receipts
        ],
        "seconds": round(seconds, 3),
        "actor_seconds": round(sum(receipt.seconds for receipt in receipts), 3),
        "run": run,
        "code": version("nightshift"),
        "published_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def publish(
    storage: Storage, plan: Plan, receipts: list[Receipt], manifest: dict[str, Any], *, replace: bool = False
) -> bool:
    """Publishes the parts; False when another run had published the same fingerprint in the meantime.

    With `replace` even that is published anew. Raises PreconditionFailed when another run published a different one:
    what that run knew is newer than our plan.
    """
    before = read_published(storage, plan.job, plan.date)
    if not replace and before is not None and before.fingerprint == plan.fingerprint and is_whole(storage, before):
        return False
    try:
        _each(lambda receipt: storage.copy(part_key(plan, receipt.shard), output_key(plan, receipt.shard)), receipts)
    except ObjectNotFound as exc:  # another run has published these parts and removed them from the work folder
        return _settle(storage, plan, manifest, exc)
    condition: dict[str, Any] = {"if_match": before.etag} if before else {"if_absent": True}
    document = json.dumps(manifest | {"supersedes": _superseded_keys(before, manifest)}, indent=1).encode()
    key = f"{partition_output_prefix(plan.job, plan.date)}{MANIFEST}"
    try:
        storage.put(key, document, content_type="application/json", **condition)
    except PreconditionFailed as exc:
        return _settle(storage, plan, manifest, exc)
    clean_up(storage, plan.job, plan.date)
    return True


def is_whole(storage: Storage, published: Published) -> bool:
    """Whether every part that the manifest names is there."""
    prefix = partition_output_prefix(published.manifest["job"], published.manifest["date"])
    present = {item.key for item in storage.list(prefix)}
    return all(part["key"] in present for part in published.manifest["parts"])


def _part_keys(manifest: dict[str, Any]) -> set[str]:
    return {part["key"] for part in manifest["parts"]}


def _superseded_keys(before: Published | None, manifest: dict[str, Any]) -> list[str]:
    """Also what `before` superseded itself, should its publisher have died before removing it."""
    old = _part_keys(before.manifest) | set(before.manifest["supersedes"]) if before else set()
    return sorted(old - _part_keys(manifest))


def _settle(storage: Storage, plan: Plan, manifest: dict[str, Any], exc: StorageError) -> bool:
    """Somebody else swapped first, or our own swap arrived and its answer was lost."""
    now = read_published(storage, plan.job, plan.date)
    if now is not None and now.fingerprint == plan.fingerprint:
        clean_up(storage, plan.job, plan.date)
        return now.manifest["run"] == manifest["run"]
    storage.delete(_part_keys(manifest) - (_part_keys(now.manifest) if now else set()))
    raise PreconditionFailed(
        f"{plan.job} {plan.date} was published by another run with other inputs or settings; nothing was replaced"
    ) from exc


def clean_up(storage: Storage, job: str, day: str) -> int:
    """Removes what publishing leaves behind; returns how many objects.

    These are superseded parts, copies older than an hour that no manifest names, and the work folder's own parts of
    what is published.
    """
    published = read_published(storage, job, day)
    if published is None:
        return 0
    superseded = set(published.manifest["supersedes"])
    kept = _part_keys(published.manifest)
    old = datetime.now(UTC) - ORPHAN_AGE
    doomed = [
        item.key
        for item in storage.list(f"{partition_output_prefix(job, day)}part-")
        if item.key not in kept and (item.key in superseded or item.modified < old)
    ]
    work_prefix = f"{partition_work_prefix(job, day)}{published.fingerprint}/"
    doomed += [item.key for item in list_parts(storage, work_prefix).values()]
    storage.delete(doomed)
    return len(doomed)


def _each(act: Callable[[Receipt], None], receipts: list[Receipt]) -> None:
    with ThreadPoolExecutor(COPIES_AT_ONCE) as threads:
        for _ in threads.map(act, receipts):
            pass
