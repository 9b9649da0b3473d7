"""The state of partitions, read from storage alone: published, held back, failed, or unfinished."""

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from infra.storage import Storage
from workers.part import list_parts
from workers.plan import Plan, partition_work_prefix
from workers.publish import MANIFEST, Published, read_published

State = Literal["published", "held", "failed", "unfinished"]
OUTCOME = "outcome.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Why a plan's parts were not published; or that they were: a plan that was published and superseded is no news."""

    state: State
    reasons: list[str]
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionState:
    """One line of `nightshift show`. A date can be published and have newer unfinished work at the same time."""

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
    manifest: dict[str, Any] | None = None


def record_outcome(storage: Storage, plan: Plan, state: State, reasons: list[str]) -> None:
    outcome = Outcome(state=state, reasons=reasons, at=datetime.now(UTC).isoformat(timespec="seconds"))
    storage.put(
        f"{plan.prefix}{OUTCOME}", json.dumps(asdict(outcome), indent=1).encode(), content_type="application/json"
    )


def list_partitions(storage: Storage, job: str, day: str = "") -> list[PartitionState]:
    """Every partition of the job (or the one of `day`), newest date first."""
    published = {state.date: state for state in _published_states(storage, job, day)}
    states = list(published.values())
    prefix = partition_work_prefix(job, day) if day else f"work/{job}/"
    for item in storage.list(prefix):
        if item.key.endswith("/plan.json"):
            plan = json.loads(storage.get(item.key))
            settled = published.get(plan["date"])
            if settled is None or settled.fingerprint != plan["fingerprint"]:
                states.append(_work_state(storage, plan, item.key.removesuffix("plan.json")))
    states = [state for state in states if state.manifest or state.state != "published"]
    return sorted(states, key=lambda state: (state.date, state.state == "published", state.at), reverse=True)


def _published_states(storage: Storage, job: str, day: str) -> list[PartitionState]:
    if day:
        days = [day]
    else:
        keys = [item.key for item in storage.list(f"outputs/{job}/") if item.key.endswith(f"/{MANIFEST}")]
        days = [key.split("/dt=")[1].split("/")[0] for key in keys]
    found = [(one, read_published(storage, job, one)) for one in days]
    return [_published_state(job, one, published) for one, published in found if published]


def _published_state(job: str, day: str, published: Published) -> PartitionState:
    manifest = published.manifest
    return PartitionState(
        job=job,
        date=day,
        state="published",
        fingerprint=manifest["fingerprint"],
        rows=manifest["counts"]["accepted"],
        shards_done=len(manifest["parts"]),
        shards=len(manifest["parts"]),
        model=manifest["model"]["version"],
        at=manifest["published_at"],
        manifest=manifest,
    )


def _work_state(storage: Storage, plan: dict[str, Any], prefix: str) -> PartitionState:
    outcome: dict[str, Any] = {"state": "unfinished", "reasons": [], "at": ""}
    if storage.head(f"{prefix}{OUTCOME}"):
        outcome = json.loads(storage.get(f"{prefix}{OUTCOME}"))
    return PartitionState(
        job=plan["job"],
        date=plan["date"],
        state=outcome["state"],
        fingerprint=plan["fingerprint"],
        shards_done=len(list_parts(storage, prefix)),
        shards=plan["num_shards"],
        model=plan["model"]["version"],
        at=outcome["at"],
        reasons=outcome["reasons"],
    )
