"""What a backfill would do about each date of a range and why, from storage alone: it asks neither
Prefect nor Ray."""

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
from workers.partitions.states import DateState, PartitionState, list_partitions
from workers.pins import ModelPin, parse_date
from workers.plans.plan import Plan
from workers.plans.planning import plan_date
from workers.plans.prepared_rows import find_prepared
from workers.registry.versions import Versions, needs_training, policies, read_versions

Mode = Literal["missing", "failed", "stale", "all"]
Order = Literal["oldest", "newest"]
MAX_DAYS = 3660
PARTITIONS_TIMED = 5
"""How many of the newest published partitions an estimate is based on."""
FAILED_STATES: frozenset[DateState] = frozenset({"damaged", "held", "failed", "unfinished"})
"""The dates that the mode `failed` makes."""
UNTRAINED = ModelPin("", "", "", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class DateStatus:
    """One date of a backfill's range: its state, and whether the backfill would make it."""

    date: str
    state: DateState
    is_due: bool
    why: str
    rows: int | None
    """Rows to generate, including rows from the future if a file has both; None until the rows are
    prepared."""
    shards: int
    shards_done: int
    """Shards of this very plan that are already written."""
    seconds: float | None
    """Estimate; None before anything was published."""


def parse_range(start: str, end: str, order: Order = "oldest") -> list[str]:
    """All dates from `start` to `end`, both included; raises InputError for a range that is empty
    or longer than ten years."""
    if not start or not end:
        raise InputError(
            "a backfill needs a first and a last date, such as 2026-11-01 and 2026-11-07"
        )
    first, last = parse_date(start), parse_date(end)
    if last < first:
        raise InputError(f"the range ends ({end}) before it starts ({start})")
    if (last - first).days >= MAX_DAYS:
        raise InputError(f"the range {start} to {end} is longer than ten years")
    num_days = (last - first).days + 1
    days = [(first + timedelta(days=number)).isoformat() for number in range(num_days)]
    return days if order == "oldest" else days[::-1]


def examine_dates(
    storage: Storage, job: Job, days: Sequence[str], mode: Mode, policy: str, settings: Any
) -> list[DateStatus]:
    """The status of each of `days`, in their order. `settings` are the job's, parsed.

    Reads the inputs' footers, the model versions and the job's manifests once. Raises InputError if
    the inputs are not loaded or the policy names an unknown version.
    """
    partitions = list_partitions(storage, job.name)
    by_day: dict[str, list[PartitionState]] = defaultdict(list)
    for item in partitions:
        by_day[item.date].append(item)
    timed = newest_manifests(partitions)
    examination = _Examination(
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
    return [examination.status(day, by_day[day]) for day in days]


def newest_manifests(partitions: Sequence[PartitionState]) -> list[Manifest]:
    """The manifests of the newest published partitions that have rows."""
    manifests = [
        item.manifest for item in partitions if item.manifest and item.manifest.counts.input_rows
    ]
    return sorted(manifests, key=lambda manifest: manifest.published_at)[-PARTITIONS_TIMED:]


def _seconds_per_row(manifest: Manifest) -> float:
    return manifest.seconds / manifest.counts.input_rows


def table_rows(found: Sequence[DateStatus]) -> list[dict[str, str]]:
    """Rows of a table for people."""
    return [_table_row(item) for item in found]


def _table_row(item: DateStatus) -> dict[str, str]:
    shards = f"{item.shards:,}"
    if item.shards_done:
        shards = f"{item.shards_done:,} of {shards} are done"
    return {
        "date": item.date,
        "state": item.state,
        "to do": "make" if item.is_due else "leave alone",
        "why": item.why,
        "rows": "unknown yet" if item.rows is None else f"{item.rows:,}",
        "shards": shards,
        "estimate": _readable(item.seconds) if item.is_due else "",
    }


def totals(found: Sequence[DateStatus]) -> str:
    """The sums over all dates, as a sentence."""
    due = [item for item in found if item.is_due]
    rows = sum(item.rows or 0 for item in due)
    shards = sum(item.shards - item.shards_done for item in due)
    num_unprepared = sum(item.rows is None for item in due)
    rest = f" and those of {num_unprepared} dates not prepared yet" if num_unprepared else ""
    estimates = [item.seconds for item in due if item.seconds is not None]
    estimate = _readable(sum(estimates) if len(estimates) == len(due) else None)
    return (
        f"{len(due)} of {len(found)} dates to make: {rows:,} rows, {shards:,} shards{rest}, "
        f"estimated time {estimate}"
    )


def _readable(seconds: float | None) -> str:
    return "unknown" if seconds is None else str(timedelta(seconds=round(seconds)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Examination:
    """What all dates of a range have in common."""

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
        pins, trains = self._choose_models(date)
        day = Day.fromisoformat(date)
        planned = plan_date(self.storage, self.job, day, self.inputs, pins, self.settings)
        prepared = find_prepared(self.storage, planned)
        plan = prepared or planned
        condition = _condition_of(partitions, plan, trains=trains)
        is_due = condition.is_due(self.mode)
        training = "; a model is trained first" if is_due and trains else ""
        shards_done = _shards_done(partitions, plan)
        estimate = self._estimate(plan, shards_done) if prepared else self.typical_seconds
        return DateStatus(
            date=date,
            state=condition.state,
            is_due=is_due,
            why=condition.why + training,
            rows=plan.num_rows if prepared else None,
            shards=plan.num_shards,
            shards_done=shards_done,
            seconds=estimate,
        )

    def _choose_models(self, date: str) -> tuple[list[ModelPin], bool]:
        """The pins of the versions that a run of `date` would find, and whether it would train
        one first."""
        day = Day.fromisoformat(date)
        pins, trains = [], False
        for versions, policy in zip(
            self.versions, policies(self.versions, self.policy), strict=True
        ):
            version = versions.choose(policy, date)
            pins.append(version.pin if version else UNTRAINED)
            trains = trains or needs_training(versions, self.job, policy, day)
        return pins, trains

    def _estimate(self, plan: Plan, shards_done: int) -> float | None:
        """Seconds for the shards of a prepared plan that are not written yet."""
        if self.seconds_per_row is None:
            return None
        share_left = 1 - shards_done / plan.num_shards if plan.num_shards else 0.0
        return self.seconds_per_row * plan.num_rows * share_left


def _shards_done(partitions: Sequence[PartitionState], plan: Plan) -> int:
    for item in partitions:
        if item.manifest is None and item.fingerprint == plan.fingerprint:
            return item.shards_done or 0
    return 0


@dataclass(frozen=True, slots=True)
class _Condition:
    """A date with readable rows can be stale and have a failed run since, both at once."""

    state: DateState
    why: str
    is_readable: bool = False
    is_stale: bool = False

    def is_due(self, mode: Mode) -> bool:
        return {
            "missing": not self.is_readable,
            "failed": self.state in FAILED_STATES,
            "stale": self.is_stale,
            "all": True,
        }[mode]


def _condition_of(partitions: Sequence[PartitionState], plan: Plan, *, trains: bool) -> _Condition:
    work = [item for item in partitions if item.manifest is None]
    newest = max(work, key=lambda item: (item.state == "unfinished", item.at), default=None)
    published = next((item for item in partitions if item.manifest is not None), None)
    if published is None or published.manifest is None:
        if newest is None:
            return _Condition("missing", "was never run")
        return _Condition(newest.state, _reasons(newest))
    if published.state == "damaged":
        return _Condition("damaged", "; ".join(published.reasons))
    stale_since = _why_stale(plan, published.manifest, trains=trains)
    is_stale = bool(stale_since)
    if newest and (newest.state == "unfinished" or newest.at > published.at):
        why = f"{_reasons(newest)}; the rows published before are kept"
        return _Condition(newest.state, why, is_readable=True, is_stale=is_stale)
    if is_stale:
        return _Condition("stale", stale_since, is_readable=True, is_stale=True)
    return _Condition("published", "is up to date", is_readable=True)


def _reasons(item: PartitionState) -> str:
    return "; ".join(item.reasons) or "a run was interrupted"


def _why_stale(plan: Plan, manifest: Manifest, *, trains: bool) -> str:
    """Empty if a run would give the published rows again."""
    if trains:
        return "the model is too old"
    if is_current(plan, manifest):
        return ""
    return f"{' and '.join(_changed_ingredients(plan, manifest))} changed since"


def _changed_ingredients(plan: Plan, manifest: Manifest) -> list[str]:
    """The ingredients of the fingerprint that changed since the manifest was published, in
    words."""
    changed = []
    if manifest.job_version != plan.job_version:
        changed.append("the job's code")
    if snapshots(manifest) != snapshots(plan):
        changed.append("the inputs")
    models = [(manifest.model, plan.model)]
    if plan.prepared and manifest.prepared:
        models.append((manifest.prepared.model, plan.prepared.model))
    for before, now in models:
        if before != now:
            changed.append(f"the model ({before.version} to {now.version})")
    settings = [
        name for name, value in plan.settings.items() if value != manifest.settings.get(name)
    ]
    if settings:
        changed.append(f"the settings ({', '.join(settings)})")
    return changed or ["the fingerprint"]
