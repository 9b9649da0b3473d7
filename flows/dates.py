"""What a backfill would do about each date of a range and why, from storage alone: neither Prefect
nor Ray is asked."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date as Day
from datetime import timedelta
from statistics import median
from typing import Any, Literal

from infra.errors import InputError
from infra.storage import Storage
from workers.inputs.snapshot import Inputs, read_inputs
from workers.job import Job
from workers.partitions.manifest import Manifest, is_current, snapshots
from workers.partitions.states import PartitionState, list_partitions
from workers.pins import ModelPin, parse_date
from workers.plans.plan import Plan
from workers.plans.planning import plan_date
from workers.plans.prepared_rows import find_prepared
from workers.registry.versions import Versions, needs_training, policies, read_versions

Mode = Literal["missing", "failed", "stale", "all"]
Order = Literal["oldest", "newest"]
MAX_DAYS = 3660
PARTITIONS_TIMED = 5
"""From so many of the newest published partitions the time of others is estimated."""
UNTRAINED = ModelPin("", "", "", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class DateStatus:
    """One date of a backfill's range: what is there, and whether it is to be made."""

    date: str
    state: str
    """missing, published, stale, damaged, held, failed or unfinished."""
    is_due: bool
    why: str
    rows: int | None
    """Rows to generate, those from the future included where a file has both; None where only
    preparing them tells."""
    shards: int
    shards_done: int
    """Shards of just this plan that are already written."""
    seconds: float | None
    """Estimate; None where nothing was ever published to learn from."""


def parse_range(start: str, end: str, order: Order = "oldest") -> list[str]:
    """All dates from `start` to `end`, both included; raises InputError for an empty or absurd
    range."""
    if not start or not end:
        raise InputError(
            "a backfill needs a first and a last date, such as 2026-11-01 and 2026-11-07"
        )
    first, last = parse_date(start), parse_date(end)
    if last < first:
        raise InputError(f"the range ends ({end}) before it starts ({start})")
    if (last - first).days >= MAX_DAYS:
        raise InputError(f"the range {start} to {end} is longer than ten years")
    days = [
        (first + timedelta(days=number)).isoformat() for number in range((last - first).days + 1)
    ]
    return days if order == "oldest" else days[::-1]


def examine_dates(
    storage: Storage, job: Job, days: Sequence[str], mode: Mode, policy: str, settings: Any
) -> list[DateStatus]:
    """The status of each of `days`, in their order. `settings` are the job's, parsed.

    Reads the inputs' footers, the versions of the model and the job's manifests once. Raises
    InputError where the inputs are not loaded or the policy names a version that does not exist.
    """
    partitions: dict[str, list[PartitionState]] = defaultdict(list)
    for item in list_partitions(storage, job.name):
        partitions[item.date].append(item)
    timed = newest_manifests([item for items in partitions.values() for item in items])
    examine = _Examination(
        job=job,
        mode=mode,
        policy=policy,
        settings=settings,
        storage=storage,
        inputs=[read_inputs(storage, table) for table in job.tables],
        versions=[read_versions(storage, name) for name in job.models],
        seconds_per_row=median(_seconds_per_row(each) for each in timed) if timed else None,
        typical_seconds=median(each.seconds for each in timed) if timed else None,
    )
    return [examine.status(day, partitions[day]) for day in days]


def newest_manifests(partitions: Sequence[PartitionState]) -> list[Manifest]:
    """Those of the newest published partitions that have rows."""
    manifests = [
        item.manifest for item in partitions if item.manifest and item.manifest.counts.input_rows
    ]
    return sorted(manifests, key=lambda manifest: manifest.published_at)[-PARTITIONS_TIMED:]


def _seconds_per_row(manifest: Manifest) -> float:
    return manifest.seconds / manifest.counts.input_rows


def table_rows(found: Sequence[DateStatus]) -> list[dict[str, str]]:
    """Rows of a table for people."""
    return [
        {
            "date": item.date,
            "state": item.state,
            "to do": "make" if item.is_due else "leave alone",
            "why": item.why,
            "rows": "unknown yet" if item.rows is None else f"{item.rows:,}",
            "shards": f"{item.shards_done:,} of {item.shards:,} are there"
            if item.shards_done
            else f"{item.shards:,}",
            "estimate": _readable(item.seconds) if item.is_due else "",
        }
        for item in found
    ]


def totals(found: Sequence[DateStatus]) -> str:
    """What all dates come to, in a sentence."""
    due = [item for item in found if item.is_due]
    known = [item.seconds for item in due if item.seconds is not None]
    rows, shards = (
        sum(item.rows or 0 for item in due),
        sum(item.shards - item.shards_done for item in due),
    )
    estimate = _readable(sum(known) if len(known) == len(due) else None)
    unknown = sum(item.rows is None for item in due)
    rest = f" and those of {unknown} dates that are not prepared yet" if unknown else ""
    return f"{len(due)} of {len(found)} dates to make: {rows:,} rows, {shards:,} shards{rest}, estimated time {estimate}"


def _readable(seconds: float | None) -> str:
    return "unknown" if seconds is None else str(timedelta(seconds=round(seconds)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Examination:
    """What does not differ between the dates of a range."""

    job: Job
    mode: Mode
    policy: str
    settings: Any
    storage: Storage
    inputs: list[Inputs]
    versions: list[Versions]
    seconds_per_row: float | None
    typical_seconds: float | None
    """For as many rows as the newest published partitions have."""

    def status(self, date: str, partitions: Sequence[PartitionState]) -> DateStatus:
        day = Day.fromisoformat(date)
        chosen = list(zip(self.versions, policies(self.versions, self.policy), strict=True))
        found_versions = [versions.choose(policy, date) for versions, policy in chosen]
        trains = any(needs_training(versions, self.job, policy, day) for versions, policy in chosen)
        pins = [version.pin if version else UNTRAINED for version in found_versions]
        planned = plan_date(self.storage, self.job, day, self.inputs, pins, self.settings)
        prepared = find_prepared(self.storage, planned)
        plan = prepared or planned
        found = _find(partitions, plan, trains=trains)
        done = next((item.shards_done or 0 for item in partitions if _is_begun(item, plan)), 0)
        seconds = None
        if self.seconds_per_row is not None:
            left = 1 - done / plan.num_shards if plan.num_shards else 0.0
            seconds = (
                self.seconds_per_row * plan.num_rows * left if prepared else self.typical_seconds
            )
        is_due = found.is_due(self.mode)
        return DateStatus(
            date=date,
            state=found.state,
            is_due=is_due,
            why=found.why + ("; a model is trained first" if is_due and trains else ""),
            rows=plan.num_rows if prepared else None,
            shards=plan.num_shards,
            shards_done=done,
            seconds=seconds,
        )


@dataclass(frozen=True, slots=True)
class _Found:
    """A date that has readable rows may be stale, and have failed since, both at once."""

    state: str
    why: str
    is_readable: bool = False
    is_stale: bool = False

    def is_due(self, mode: Mode) -> bool:
        return {
            "missing": not self.is_readable,
            "failed": self.state in {"damaged", "held", "failed", "unfinished"},
            "stale": self.is_stale,
            "all": True,
        }[mode]


def _find(partitions: Sequence[PartitionState], plan: Plan, *, trains: bool) -> _Found:
    published = next((item for item in partitions if item.manifest is not None), None)
    work = [item for item in partitions if item.manifest is None]
    newest = max(work, key=lambda item: (item.state == "unfinished", item.at), default=None)
    reason = ("; ".join(newest.reasons) or "a run was interrupted") if newest else ""
    if published is None or published.manifest is None:
        return _Found(newest.state, reason) if newest else _Found("missing", "was never run")
    if published.state == "damaged":
        return _Found("damaged", "; ".join(published.reasons))
    changes = ["the model, too old by now,"] if trains else _changes(plan, published.manifest)
    if newest and (newest.state == "unfinished" or newest.at > published.at):
        why = f"{reason}; the rows published before are there"
        return _Found(newest.state, why, is_readable=True, is_stale=bool(changes))
    if changes:
        return _Found(
            "stale", f"{' and '.join(changes)} changed since", is_readable=True, is_stale=True
        )
    return _Found("published", "is up to date", is_readable=True)


def _changes(plan: Plan, manifest: Manifest) -> list[str]:
    """Which ingredients of the published fingerprint are others today, in words; none: it would
    come out the same."""
    if is_current(plan, manifest):
        return []
    settings = [
        name for name, value in plan.settings.items() if value != manifest.settings.get(name)
    ]
    is_other = {
        "the job's code": manifest.job_version != plan.job_version,
        "the inputs": snapshots(manifest) != snapshots(plan),
        **_changed_models(plan, manifest),
        f"the settings ({', '.join(settings)})": bool(settings),
    }
    return [name for name, differs in is_other.items() if differs] or ["the fingerprint"]


def _changed_models(plan: Plan, manifest: Manifest) -> dict[str, bool]:
    pairs = [(manifest.model, plan.model)]
    if plan.prepared and manifest.prepared:
        pairs.append((manifest.prepared.model, plan.prepared.model))
    return {
        f"the model ({before.version} to {now.version})": before != now for before, now in pairs
    }


def _is_begun(item: PartitionState, plan: Plan) -> bool:
    return item.manifest is None and item.fingerprint == plan.fingerprint
