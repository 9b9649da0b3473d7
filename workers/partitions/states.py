"""The states of partitions, read from storage alone: published, damaged, held back, failed, or
unfinished."""

import json
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

from infra.errors import ObjectNotFound
from infra.storage import ObjectInfo, Storage
from infra.storage.documents import read_document
from workers.partitions.manifest import (
    MANIFEST,
    Manifest,
    Published,
    absent_among,
    is_current,
    read_published,
)
from workers.plans.plan import Plan, partition_output_prefix, partition_work_prefix

StateName = Literal["published", "damaged", "held", "failed", "unfinished"]
DateState = StateName | Literal["missing", "stale"]
"""Of a date: one that was never run is missing; one whose rows a run would change is stale."""
OUTCOME = "outcome.json"
READS_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How the run of a plan ended, as `outcome.json` stores it. A plan that was published and then
    superseded keeps the state published, so that it is not listed as unfinished."""

    state: StateName
    reasons: list[str]
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionState:
    """One line of `nightshift show`. A date can be published and have newer unfinished work at the
    same time."""

    job: str
    date: str
    state: StateName
    fingerprint: str
    rows: int | None = None
    shards_done: int | None = None
    shards: int | None = None
    model: str = ""
    at: str = ""
    reasons: list[str] = field(default_factory=list)
    manifest: Manifest | None = None


def record_outcome(storage: Storage, plan: Plan, state: StateName, reasons: list[str]) -> None:
    outcome = Outcome(
        state=state, reasons=reasons, at=datetime.now(UTC).isoformat(timespec="seconds")
    )
    storage.put(
        f"{plan.prefix}{OUTCOME}",
        json.dumps(asdict(outcome), indent=1).encode(),
        content_type="application/json",
    )


def read_outcome(storage: Storage, prefix: str) -> Outcome:
    """The outcome of the plan whose work folder is `prefix`. Raises ObjectNotFound before a run of
    it has ended."""
    key = f"{prefix}{OUTCOME}"
    return read_document(Outcome, storage.get(key), key)


def next_attempt(storage: Storage, plan: Plan, published: Published | None) -> Plan:
    """The plan that retries the rows that were set aside.

    It has one more attempt than the last plan that has an outcome, so that an interrupted retry is
    resumed.
    """
    attempts = 1
    if published and is_current(plan, published.manifest):
        attempts = published.manifest.attempts + 1
    while storage.head(f"{replace(plan, attempts=attempts).prefix}{OUTCOME}"):
        attempts += 1
    return replace(plan, attempts=attempts)


def list_partitions(storage: Storage, job: str, day: str = "") -> list[PartitionState]:
    """Every partition of the job, or those of `day`; newest date first."""
    published = _list_published(storage, job, day)
    work = _list_work(storage, job, day, {state.fingerprint for state in published})
    unpublished = [state for state in work if state.state != "published"]
    return sorted(
        [*published, *unpublished],
        key=lambda state: (state.date, state.manifest is not None, state.at),
        reverse=True,
    )


def _list_published(storage: Storage, job: str, day: str) -> list[PartitionState]:
    sizes_by_day: dict[str, dict[str, int]] = defaultdict(dict)
    for item in storage.list(partition_output_prefix(job, day) if day else f"outputs/{job}/dt="):
        item_day = item.key.split("/dt=")[1].partition("/")[0]
        sizes_by_day[item_day][item.key] = item.size_bytes
    days = [
        each
        for each, sizes in sizes_by_day.items()
        if f"{partition_output_prefix(job, each)}{MANIFEST}" in sizes
    ]
    with ThreadPoolExecutor(READS_AT_ONCE) as threads:
        found = threads.map(
            lambda each: _read_published_state(storage, job, each, sizes_by_day[each]), days
        )
        return [state for state in found if state is not None]


def _read_published_state(
    storage: Storage, job: str, day: str, sizes: dict[str, int]
) -> PartitionState | None:
    """The state by the `sizes` that were listed; listed again if parts seem to be damaged, since a
    run may have published in the meantime."""
    published = read_published(storage, job, day)
    while published:
        state = _published_state(published.manifest, sizes)
        if state.state == "published":
            return state
        before = published
        sizes = {
            item.key: item.size_bytes for item in storage.list(partition_output_prefix(job, day))
        }
        published = read_published(storage, job, day)
        if published and published.etag == before.etag:
            return _published_state(published.manifest, sizes)
    return None


def _published_state(manifest: Manifest, sizes: dict[str, int]) -> PartitionState:
    absent = absent_among(sizes, manifest)
    reasons = []
    if absent:
        reasons.append(f"{len(absent)} parts are missing or truncated, such as {absent[0]}")
    return PartitionState(
        job=manifest.job,
        date=manifest.date,
        state="damaged" if absent else "published",
        fingerprint=manifest.fingerprint,
        rows=manifest.counts.accepted,
        shards_done=len(manifest.parts) - len(absent),
        shards=len(manifest.parts),
        model=manifest.model.version,
        at=manifest.published_at,
        reasons=reasons,
        manifest=manifest,
    )


def _list_work(
    storage: Storage, job: str, day: str, published_fingerprints: set[str]
) -> list[PartitionState]:
    """The plans that are not the published one."""
    folders: dict[str, list[ObjectInfo]] = defaultdict(list)
    for item in storage.list(partition_work_prefix(job, day) if day else f"work/{job}/dt="):
        folders[item.key.rpartition("/")[0]].append(item)
    wanted = [
        folder for folder in folders if folder.rpartition("/")[2] not in published_fingerprints
    ]
    with ThreadPoolExecutor(READS_AT_ONCE) as threads:
        states = threads.map(lambda folder: _work_state(storage, folder, folders[folder]), wanted)
        return [state for state in states if state is not None]


def _work_state(
    storage: Storage, folder: str, items: Iterable[ObjectInfo]
) -> PartitionState | None:
    names = [item.key.rpartition("/")[2] for item in items]
    if "plan.json" not in names:
        return None
    outcome = Outcome(state="unfinished", reasons=[], at="")
    try:
        plan = json.loads(storage.get(f"{folder}/plan.json"))
        if OUTCOME in names:
            outcome = read_outcome(storage, f"{folder}/")
    except ObjectNotFound:
        return None  # a run has just removed this abandoned work
    return PartitionState(
        job=plan["job"],
        date=plan["date"],
        state=outcome.state,
        fingerprint=plan["fingerprint"],
        shards_done=sum(name.startswith("part-") for name in names),
        shards=plan["num_shards"],
        model=plan["model"]["version"],
        at=outcome.at,
        reasons=outcome.reasons,
    )
