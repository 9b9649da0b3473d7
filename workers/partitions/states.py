"""The state of partitions, read from storage alone: published, damaged, held back, failed, or
unfinished."""

import json
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from infra.errors import ObjectNotFound
from infra.storage import ObjectInfo, Storage
from workers.partitions.manifest import MANIFEST, Manifest, Published, is_current, read_published
from workers.plans.plan import Plan, partition_output_prefix, partition_work_prefix

State = Literal["published", "damaged", "held", "failed", "unfinished"]
OUTCOME = "outcome.json"
READS_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Why a plan's parts were not published; or that they were: a plan that was published and
    superseded is no news."""

    state: State
    reasons: list[str]
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionState:
    """One line of `nightshift show`. A date can be published and have newer unfinished work at the
    same time."""

    job: str
    date: str
    state: State
    fingerprint: str
    rows: int | None = None
    shards_done: int | None = None
    shards: int | None = None
    model: str = ""
    at: str = ""
    reasons: list[str] = field(default_factory=list)
    manifest: Manifest | None = None


def record_outcome(storage: Storage, plan: Plan, state: State, reasons: list[str]) -> None:
    outcome = Outcome(
        state=state, reasons=reasons, at=datetime.now(UTC).isoformat(timespec="seconds")
    )
    storage.put(
        f"{plan.prefix}{OUTCOME}",
        json.dumps(asdict(outcome), indent=1).encode(),
        content_type="application/json",
    )


def next_attempt(storage: Storage, plan: Plan, published: Published | None) -> Plan:
    """The plan that tries what is set aside once more.

    One that was begun and not brought to an end is gone on with, else its attempts are one more
    than the last one's.
    """
    attempts = 1
    if published and is_current(plan, published.manifest):
        attempts = published.manifest.attempts + 1
    while storage.head(f"{replace(plan, attempts=attempts).prefix}{OUTCOME}"):
        attempts += 1
    return replace(plan, attempts=attempts)


def list_partitions(storage: Storage, job: str, day: str = "") -> list[PartitionState]:
    """Every partition of the job (or the one of `day`), newest date first."""
    published = {state.date: state for state in _published_states(storage, job, day)}
    work = _work_states(storage, job, day, {state.fingerprint for state in published.values()})
    return sorted(
        [*published.values(), *(state for state in work if state.state != "published")],
        key=lambda state: (state.date, state.manifest is not None, state.at),
        reverse=True,
    )


def _published_states(storage: Storage, job: str, day: str) -> list[PartitionState]:
    sizes: dict[str, dict[str, int]] = defaultdict(dict)
    for item in storage.list(partition_output_prefix(job, day) if day else f"outputs/{job}/dt="):
        sizes[item.key.split("/dt=")[1].partition("/")[0]][item.key] = item.size_bytes
    days = [
        one
        for one, keys in sizes.items()
        if f"{partition_output_prefix(job, one)}{MANIFEST}" in keys
    ]
    with ThreadPoolExecutor(READS_AT_ONCE) as threads:
        found = threads.map(lambda one: _published_state_of(storage, job, one, sizes[one]), days)
        return [state for state in found if state is not None]


def _published_state_of(
    storage: Storage, job: str, day: str, sizes: dict[str, int]
) -> PartitionState | None:
    """By the sizes that were listed; listed anew where parts seem to be damaged: a run may have
    published since."""
    published = read_published(storage, job, day)
    while published:
        state = _published_state(published, sizes)
        if state.state == "published":
            return state
        before = published
        sizes = {
            item.key: item.size_bytes for item in storage.list(partition_output_prefix(job, day))
        }
        published = read_published(storage, job, day)
        if published and published.etag == before.etag:
            return _published_state(published, sizes)
    return None


def _published_state(published: Published, sizes: dict[str, int]) -> PartitionState:
    manifest = published.manifest
    absent = [part.key for part in manifest.parts if sizes.get(part.key) != part.size_bytes]
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
        reasons=[f"{len(absent)} parts are gone or cut short, such as {absent[0]}"]
        if absent
        else [],
        manifest=manifest,
    )


def _work_states(storage: Storage, job: str, day: str, published: set[str]) -> list[PartitionState]:
    """The plans that are not what is published."""
    folders: dict[str, list[ObjectInfo]] = defaultdict(list)
    for item in storage.list(partition_work_prefix(job, day) if day else f"work/{job}/dt="):
        folders[item.key.rpartition("/")[0]].append(item)
    with ThreadPoolExecutor(READS_AT_ONCE) as threads:
        wanted = [
            (folder, [item.key.rpartition("/")[2] for item in items])
            for folder, items in folders.items()
            if folder.rpartition("/")[2] not in published
        ]
        states = threads.map(lambda pair: _work_state(storage, *pair), wanted)
        return [state for state in states if state is not None]


def _work_state(storage: Storage, folder: str, names: list[str]) -> PartitionState | None:
    if "plan.json" not in names:
        return None
    outcome: dict[str, Any] = {"state": "unfinished", "reasons": [], "at": ""}
    try:
        plan = json.loads(storage.get(f"{folder}/plan.json"))
        if OUTCOME in names:
            outcome = json.loads(storage.get(f"{folder}/{OUTCOME}"))
    except ObjectNotFound:  # it was left long ago, and a run has removed it just now
        return None
    return PartitionState(
        job=plan["job"],
        date=plan["date"],
        state=outcome["state"],
        fingerprint=plan["fingerprint"],
        shards_done=sum(name.startswith("part-") for name in names),
        shards=plan["num_shards"],
        model=plan["model"]["version"],
        at=outcome["at"],
        reasons=outcome["reasons"],
    )
