"""What a run of one partition has to do: models, plan, and whether anything is left to make."""

import threading
from dataclasses import dataclass, replace
from datetime import date as Day
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger

from flows.parameters import ModelName
from flows.server.health import wait_for_server
from flows.train import train
from infra.errors import GenerationError, NightshiftError
from infra.storage import Storage
from workers.inputs.snapshot import read_inputs, while_files_change
from workers.job import Job, JobSettings
from workers.partitions.manifest import Published, is_current, is_whole, read_published
from workers.partitions.states import next_attempt
from workers.plans.plan import Plan
from workers.plans.planning import plan_date
from workers.registry.versions import (
    ModelVersion,
    Versions,
    choose_version,
    needs_training,
    policies,
    read_versions,
)

# Dates that a backfill makes in parallel need the same model: one of them trains it.
_TRAINING = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The parameters of a run, parsed."""

    job: Job
    day: Day
    model_policy: str
    settings: JobSettings
    force: bool
    retry_quarantined: bool
    ignore_gates: bool
    num_actors: int
    background: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to make, and what was published when that was decided."""

    plan: Plan
    published: Published | None
    unchanged_because: str = ""
    """Why there is nothing to make; empty where there is."""


def decide(storage: Storage, request: Request) -> Decision:
    """Trains models that are missing or too old, plans the date, compares it with what exists."""
    job, date = request.job.name, request.day.isoformat()
    # Read before planning: a run that publishes later has planned with newer inputs.
    before = read_published(storage, job, date)
    with _TRAINING:
        models = ensure_models(storage, request.job, request.model_policy, request.day)
    plan = plan_partition(storage, request, models)
    # Read again: training may have taken hours.
    published = published_since(storage, plan, before) or before
    if published and not request.force and is_current(plan, published.manifest):
        reason = _reason_to_skip(storage, request, published)
        if reason:
            plan = replace(plan, attempts=published.manifest.attempts)
            return Decision(plan=plan, published=published, unchanged_because=reason)
    plan = _count_attempts(storage, plan, published, retry_quarantined=request.retry_quarantined)
    return Decision(plan=plan, published=published)


def published_since(storage: Storage, plan: Plan, before: Published | None) -> Published | None:
    """What another run published after `before`, if it equals this plan's output. Rows that were
    set aside may have been tried more often."""
    now = read_published(storage, plan.job, plan.date)
    if now is None or (before and now.etag == before.etag):
        return None
    is_equal = is_current(plan, now.manifest) and now.manifest.attempts >= plan.attempts
    return now if is_equal else None


def _reason_to_skip(storage: Storage, request: Request, published: Published) -> str:
    """Why a partition that this plan would yield again is left alone; empty where it is not."""
    if not is_whole(storage, published.manifest):
        return ""
    if not request.retry_quarantined:
        return "was already published and nothing changed since"
    return "" if published.manifest.counts.set_aside else "has no rows set aside"


def _count_attempts(
    storage: Storage, plan: Plan, published: Published | None, *, retry_quarantined: bool
) -> Plan:
    """The plan with the number of attempts its rows have had, or with one more."""
    if retry_quarantined:
        return next_attempt(storage, plan, published)
    if published and is_current(plan, published.manifest):
        return replace(plan, attempts=published.manifest.attempts)
    return plan


def ensure_models(storage: Storage, job: Job, policy: str, day: Day) -> list[ModelVersion]:
    """The versions of the job's models that the policy names.

    Trains a model first where no version exists, or the champion's data are too old for tonight.
    """
    versions = [read_versions(storage, name) for name in job.models]
    chosen = zip(versions, policies(versions, policy), strict=True)
    return [_ensure_model(storage, job, each, its_policy, day) for each, its_policy in chosen]


def _ensure_model(
    storage: Storage, job: Job, versions: Versions, policy: str, day: Day
) -> ModelVersion:
    name, version = versions.name, versions.choose(policy, day.isoformat())
    if version is not None and not needs_training(versions, job, policy, day):
        return version
    wait_for_server()
    state = train(model=ModelName(name), date=day.isoformat(), return_state=True)
    # Look again even if this training failed: another run may have trained the model meanwhile.
    chosen = choose_version(storage, name, policy, day.isoformat())
    if chosen is None:
        raise _cause(state, f"training {name} failed")
    if not state.is_completed():
        what = "retraining" if version else "training"
        get_run_logger().error(f"{what} {name} failed, using {chosen.version}: {state.message}")
    return chosen


def _cause(state: State[Any], what: str) -> NightshiftError:
    result = state.result(raise_on_failure=False)
    if isinstance(result, NightshiftError):
        return result
    return GenerationError(f"{what}: {state.message}")


@task(name="plan", cache_policy=NO_CACHE)
def plan_partition(storage: Storage, request: Request, models: list[ModelVersion]) -> Plan:
    """Pins inputs, models and settings. Reads Parquet footers, not rows."""
    log, job, pins = get_run_logger(), request.job, [model.pin for model in models]

    def plan_now() -> Plan:
        inputs = [read_inputs(storage, table) for table in job.tables]
        return plan_date(storage, job, request.day, inputs, pins, request.settings)

    plan = while_files_change(plan_now)
    if not plan.prepared:
        what = "rows" if plan.orders else f"rows of {job.table}"
        log.info(f"{plan.num_rows:,} {what} in {plan.num_shards:,} shards")
    names = " and ".join(model.version for model in models)
    log.info(f"model {names}, fingerprint {plan.fingerprint}")
    return plan
