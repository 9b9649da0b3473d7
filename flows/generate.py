"""The flow that makes one partition: snapshot, model, plan, generate, check, publish."""

import time
from dataclasses import dataclass
from datetime import date as Day
from datetime import timedelta
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.parameters import JobName, resolve_date, run_name, split_assignments
from flows.progress import Stage
from flows.summary import figures, markdown_summary
from flows.train import train
from infra.errors import GenerationError, NightshiftError, PartitionHeld
from infra.settings import load_settings
from infra.storage import Storage, open_storage
from workers.checks import find_breaches, measure_quality
from workers.generation import Progress, generate_shards
from workers.job import Job
from workers.jobs import find_job
from workers.outputs import sample_rows
from workers.part import Receipt, list_parts
from workers.partition import record_outcome
from workers.plan import Plan, make_plan
from workers.publish import clean_up, is_whole, make_manifest, publish, read_published
from workers.registry import ModelVersion, choose_version, list_versions
from workers.snapshot import take_snapshot

DAYS_LOOKED_BACK = 14
"""How far back the last published partition may lie to be compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionResult:
    """What a run did with a partition, for whoever called the flow."""

    job: str
    date: str
    state: str
    """published, unchanged."""
    message: str
    manifest: dict[str, Any]
    flow_run_id: str


@flow(name="generate", flow_run_name=lambda: run_name("job"))
def generate(
    job: JobName,
    date: str = "",
    model_policy: str = "champion",
    settings: str = "",
    force: bool = False,
) -> State[PartitionResult]:
    """Makes and publishes one partition. A partition that is published and would come out the same is left alone.

    Args:
        job: What to generate.
        date: YYYY-MM-DD, the day whose partition to make. Empty: the day before the scheduled start (UTC).
        model_policy: champion, as-of (the newest model trained on data up to the date), or the name of a version.
        settings: Job settings to change, as key=value separated by blanks or lines.
        force: Generate anew even where the partition is published and nothing changed.
    """
    started = time.monotonic()
    storage, day, declared = open_storage(load_settings()), resolve_date(date), find_job(job)
    parsed = declared.parse_settings(split_assignments(settings))
    model = ensure_model(storage, declared, model_policy, day)
    plan = plan_partition(storage, declared, day, model, parsed)
    published = read_published(storage, plan.job, plan.date)
    if published and published.fingerprint == plan.fingerprint and not force and is_whole(storage, published):
        clean_up(storage, plan.job, plan.date)
        return _settled("unchanged", plan, published.manifest, "was already published and nothing changed since")
    if force:
        storage.delete([item.key for item in list_parts(storage, plan.prefix).values()])
    try:
        receipts = generate_parts(plan)
        quality = check_partition(declared, plan, receipts)
        manifest = make_manifest(plan, receipts, quality, time.monotonic() - started, str(flow_run.id))
        is_ours = publish_partition(plan, receipts, manifest, force=force)
    except PartitionHeld as exc:
        record_outcome(storage, plan, "held", str(exc).split("; "))
        return Failed(name="Held", message=str(exc), data=exc)
    except NightshiftError as exc:
        record_outcome(storage, plan, "failed", [str(exc)])
        raise
    if not is_ours:
        return _settled("unchanged", plan, manifest, "was published by another run in the meantime")
    record_outcome(storage, plan, "published", [])
    return _settled("published", plan, manifest, "")


def _settled(state: str, plan: Plan, manifest: dict[str, Any], why: str) -> State[PartitionResult]:
    counts = manifest["counts"]
    message = f"{plan.job} {plan.date}: {counts['accepted']:,} rows" + (f"; it {why}" if why else " published")
    set_aside = counts["rejected"] + counts["quarantined"]
    if set_aside and not why:
        message += f", {counts['rejected']:,} rejected and {counts['quarantined']:,} quarantined"
    get_run_logger().info(message)
    result = PartitionResult(
        job=plan.job, date=plan.date, state=state, message=message, manifest=manifest, flow_run_id=str(flow_run.id)
    )
    return Completed(name=state.capitalize(), message=message, data=result)


def ensure_model(storage: Storage, job: Job, policy: str, day: Day) -> ModelVersion:
    """The version that the policy names; trained first where there is none, or it is too old for tonight."""
    version = choose_version(storage, job.model, policy, day.isoformat())
    if version is not None and not (policy == "champion" and _is_stale(storage, job, day)):
        return version
    state = train(model=job.model, date=day.isoformat(), return_state=True)
    if state.is_completed():
        chosen = choose_version(storage, job.model, policy, day.isoformat())
        if chosen is not None:
            return chosen
    if version is None:
        raise _cause(state, f"training {job.model} failed")
    get_run_logger().error(f"retraining {job.model} failed, {version.version} goes on: {state.message}")
    return version


def _is_stale(storage: Storage, job: Job, day: Day) -> bool:
    newest = max(version.through for version in list_versions(storage, job.model))
    return Day.fromisoformat(newest) < day - timedelta(days=job.retrain_after_days)


def _cause(state: State[Any], what: str) -> NightshiftError:
    result = state.result(raise_on_failure=False)
    return result if isinstance(result, NightshiftError) else GenerationError(f"{what}: {state.message}")


@task(name="plan", cache_policy=NO_CACHE)
def plan_partition(storage: Storage, job: Job, day: Day, model: ModelVersion, settings: Any) -> Plan:
    """Pins inputs, model and settings; reads footers only."""
    plan = make_plan(job, day, take_snapshot(storage, job.table, day), model.pin, settings)
    get_run_logger().info(
        f"{plan.snapshot.num_rows:,} rows of {job.table} in {plan.num_shards:,} shards, "
        f"model {model.version}, fingerprint {plan.fingerprint}"
    )
    return plan


@task(name="generate shards", cache_policy=NO_CACHE)
def generate_parts(plan: Plan) -> list[Receipt]:
    settings = load_settings()
    with Stage(f"{plan.job} {plan.date}", plan.snapshot.num_rows, f"{plan.job.replace('_', '-')}-progress") as stage:

        def tell(progress: Progress) -> None:
            stage.update(progress.done_rows, f"shard {progress.done_shards}/{progress.total_shards}")

        return generate_shards(settings, open_storage(settings), plan, stage.line, tell)


@task(name="check", cache_policy=NO_CACHE)
def check_partition(job: Job, plan: Plan, receipts: list[Receipt]) -> dict[str, float]:
    """Measures the partition and compares it with the gates; raises PartitionHeld naming each one that is not kept."""
    storage = open_storage(load_settings())
    if not any(receipt.input_rows for receipt in receipts):
        raise PartitionHeld(f"every row of {job.table} is from after {plan.date}: there is nothing to generate")
    quality = measure_quality(storage, plan, receipts)
    breaches = find_breaches(job.gates, quality, _last_quality(storage, plan))
    if breaches:
        raise PartitionHeld("; ".join(str(breach) for breach in breaches))
    return quality


def _last_quality(storage: Storage, plan: Plan) -> dict[str, Any] | None:
    day = Day.fromisoformat(plan.date)
    for days in range(1, DAYS_LOOKED_BACK + 1):
        published = read_published(storage, plan.job, (day - timedelta(days=days)).isoformat())
        if published:
            return published.manifest["quality"]
    return None


@task(name="publish", cache_policy=NO_CACHE)
def publish_partition(plan: Plan, receipts: list[Receipt], manifest: dict[str, Any], *, force: bool) -> bool:
    """Publishes and tells about it; False where another run was first with the same rows."""
    storage = open_storage(load_settings())
    is_ours = publish(storage, plan, receipts, manifest, replace=force)
    if is_ours:
        key = plan.job.replace("_", "-")
        create_table_artifact(figures(manifest), key=f"{key}-figures", description=f"{plan.job} · {plan.date}")
        summary = markdown_summary(manifest, sample_rows(storage, manifest, 10))
        create_markdown_artifact(summary, key=f"{key}-summary", description=f"{plan.job} · {plan.date}")
    return is_ours
