"""The flow that makes one partition: models, plan, prepare, generate, check, publish."""

import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import date as Day
from datetime import timedelta
from typing import Annotated, Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.parameters import (
    ActorCount,
    DateText,
    JobName,
    ModelName,
    PolicyText,
    SettingsText,
    job_settings,
    resolve_date,
    run_name,
    titled,
)
from flows.run_page.overview import renew_overview
from flows.run_page.progress import Stage
from flows.run_page.report import report_held, report_published, warn_on_failure
from flows.run_page.traces import show_traces
from flows.server.exclusive import publishing_alone
from flows.server.health import ending_with_server, tag_run, wait_for_server
from flows.train import train
from infra.errors import (
    GenerationError,
    InputError,
    NightshiftError,
    ObjectNotFound,
    PartitionHeld,
    PreconditionFailed,
    StorageError,
)
from infra.settings import load_settings
from infra.storage import Storage, open_storage
from workers.actors.messages import Watcher
from workers.generation.generate import Progress, generate_shards
from workers.generation.preparation import prepare_rows
from workers.inputs.snapshot import read_inputs, while_files_change
from workers.job import Job
from workers.jobs import find_job
from workers.partitions.leftovers import clean_up_run, remove_leftovers
from workers.partitions.manifest import (
    Manifest,
    Published,
    is_current,
    is_whole,
    make_manifest,
    read_published,
)
from workers.partitions.parts import Receipt, detect_removed_work
from workers.partitions.publish import publish
from workers.partitions.quality import measure_quality
from workers.partitions.states import next_attempt, record_outcome
from workers.plans.plan import Plan
from workers.plans.planning import plan_date
from workers.quality.gates import find_breaches
from workers.registry.versions import (
    ModelVersion,
    Versions,
    choose_version,
    needs_training,
    policies,
    read_versions,
)

DAYS_LOOKED_BACK = 14
"""How far back the last published partition may lie to be compared with."""
# dates that a backfill makes side by side need the same model: one of them trains it
_TRAINING = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionResult:
    """What a run did with a partition, for whoever called the flow."""

    job: str
    date: str
    state: str
    """published, unchanged."""
    message: str
    manifest: Manifest
    flow_run_id: str


@flow(name="generate", flow_run_name=lambda: run_name("job"))
@ending_with_server()
def generate(  # noqa: PLR0913, PLR0917  # the arguments are the form in the Prefect UI, and that is best flat
    job: Annotated[JobName, titled("Job")],
    date: DateText = "",
    model_policy: PolicyText = "champion",
    settings: SettingsText = "",
    force: Annotated[bool, titled("Generate anew")] = False,
    retry_quarantined: Annotated[bool, titled("Try rows set aside once more")] = False,
    ignore_gates: Annotated[bool, titled("Publish in spite of gates")] = False,
    num_actors: ActorCount = 0,
    background: Annotated[bool, titled("In the background")] = False,
) -> State[PartitionResult]:
    """Makes and publishes one partition. A partition that is published and would come out the same
    is left alone.

    Args:
        job: What to generate.
        date: YYYY-MM-DD, the day whose partition to make. Empty: the day before the scheduled start
            (UTC).
        model_policy: champion, as-of (the newest model trained on data up to the date), or the name
            of a version.
        settings: Job settings to change, as key=value separated by blanks or lines.
        force: Generate anew even where the partition is published and nothing changed.
        retry_quarantined: Try the rows that were rejected or raised once more, with new seeds; keep
            all others.
        ignore_gates: Publish even if a gate holds the partition back; the manifest then names the
            gate.
        num_actors: How many actors generate at once. 0: as many as there is room for.
        background: Step aside as long as another run needs the cluster.
    """
    started = time.monotonic()
    if force and retry_quarantined:
        raise InputError(
            "force makes all rows anew, retry_quarantined only those set aside: choose one of the two"
        )
    storage = open_storage(load_settings(), is_in_use=bool(flow_run.parent_flow_run_id))
    day, declared = resolve_date(date), find_job(job)
    tag_run(declared.name, day.isoformat())
    parsed = job_settings(declared, settings)
    swaps = _has_conditional_writes(storage)
    # first: who publishes later knows more than we
    published = read_published(storage, declared.name, day.isoformat())
    with _TRAINING:
        models = ensure_models(storage, declared, model_policy, day)
    plan = plan_partition(storage, declared, day, models, parsed)
    # a training may have taken hours
    published = _published_meanwhile(storage, plan, published) or published
    manifest = published.manifest if published else None
    if (
        manifest
        and not force
        and is_current(plan, manifest)
        and is_whole(storage, manifest)
        and not (retry_quarantined and manifest.counts.set_aside)
    ):
        remove_leftovers_or_warn(storage, plan)
        report_published(storage, replace(plan, attempts=manifest.attempts), manifest)
        why = (
            "has no rows set aside"
            if retry_quarantined
            else "was already published and nothing changed since"
        )
        return _settled("unchanged", plan, manifest, why)
    plan = _with_attempts(storage, plan, published, retry_quarantined=retry_quarantined)
    if force:
        made = [
            item.key
            for kind in ("part-", "quarantine-")
            for item in storage.list(f"{plan.prefix}{kind}")
        ]
        storage.delete([*made, plan.prepared_key] if plan.prepared else made)
    try:
        plan = prepare_partition(storage, plan, background=background) if plan.prepared else plan
        with detect_removed_work(plan):
            receipts = generate_parts(storage, plan, num_actors=num_actors, background=background)
            show_traces(storage, plan.trace_prefix, f"{plan.job.replace('_', '-')}-traces")
            quality, breaches = check_partition(
                storage, declared, plan, receipts, ignore_gates=ignore_gates
            )
        seconds = time.monotonic() - started
        manifest = make_manifest(
            plan, receipts, quality, seconds, str(flow_run.id), published, breaches
        )
        with nullcontext() if swaps else publishing_alone(plan.job, plan.date):
            is_ours = publish_partition(storage, plan, receipts, manifest, published)
    except PartitionHeld as exc:
        if rival := _published_meanwhile(storage, plan, published):
            return _overtaken(storage, plan, rival)
        record_outcome(storage, plan, "held", str(exc).split("; "))
        report_held(plan, str(exc).split("; "))
        renew_overview(storage)
        return Failed(name="Held", message=str(exc), data=exc)
    except NightshiftError as exc:
        if isinstance(exc, StorageError) and not isinstance(
            exc, ObjectNotFound | PreconditionFailed
        ):
            raise  # the store could not be told how it ended
        # it has also moved what we stumbled over
        if rival := _published_meanwhile(storage, plan, published):
            return _overtaken(storage, plan, rival)
        record_outcome(storage, plan, "failed", [str(exc)])
        renew_overview(storage)
        raise
    if not is_ours:
        return _settled("unchanged", plan, manifest, "was published by another run in the meantime")
    report_published(storage, plan, manifest)
    renew_overview(storage)
    return _settled("published", plan, manifest, "")


@warn_on_failure("what they supersede is still there")
def remove_leftovers_or_warn(storage: Storage, plan: Plan) -> None:
    remove_leftovers(storage, plan.job, plan.date)


def _has_conditional_writes(storage: Storage) -> bool:
    """Whether the store itself lets one publisher win; warns where it does not."""
    if storage.probe().conditional_put:
        return True
    get_run_logger().warning(
        f"{storage.uri} ignores conditional writes: a Prefect concurrency limit lets one run of a job publish at a "
        "time. Runs of the same job must not use different Prefect servers"
    )
    return False


def _with_attempts(
    storage: Storage, plan: Plan, published: Published | None, *, retry_quarantined: bool
) -> Plan:
    """The plan with as many attempts as its rows have had, or with one more."""
    if retry_quarantined:
        return next_attempt(storage, plan, published)
    return (
        replace(plan, attempts=published.manifest.attempts)
        if published and is_current(plan, published.manifest)
        else plan
    )


def _published_meanwhile(
    storage: Storage, plan: Plan, before: Published | None
) -> Published | None:
    """What another run has published since `before` was, if it is just what the plan would give, or
    that with rows that were set aside tried once more."""
    now = read_published(storage, plan.job, plan.date)
    if now is None or (before and now.etag == before.etag):
        return None
    manifest = now.manifest
    return now if is_current(plan, manifest) and manifest.attempts >= plan.attempts else None


def _overtaken(storage: Storage, plan: Plan, rival: Published) -> State[PartitionResult]:
    with warn_on_failure("what this run has made in vain is still there"):
        clean_up_run(storage, plan)
    return _settled(
        "unchanged", plan, rival.manifest, "was published by another run in the meantime"
    )


def _settled(state: str, plan: Plan, manifest: Manifest, why: str) -> State[PartitionResult]:
    counts = manifest.counts
    message = f"{plan.job} {plan.date}: {counts.accepted:,} rows" + (
        f"; it {why}" if why else " published"
    )
    if counts.set_aside and not why:
        message += f", {counts.rejected:,} rejected and {counts.quarantined:,} quarantined"
    get_run_logger().info(message)
    result = PartitionResult(
        job=plan.job,
        date=plan.date,
        state=state,
        message=message,
        manifest=manifest,
        flow_run_id=str(flow_run.id),
    )
    return Completed(name=state.capitalize(), message=message, data=result)


def ensure_models(storage: Storage, job: Job, policy: str, day: Day) -> list[ModelVersion]:
    """The versions of the job's models that the policy names; trained first where there is none, or
    it is too old for tonight."""
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
    # if ours failed, another run's may not have
    chosen = choose_version(storage, name, policy, day.isoformat())
    if chosen is None:
        raise _cause(state, f"training {name} failed")
    if not state.is_completed():
        what = "retraining" if version else "training"
        get_run_logger().error(f"{what} {name} failed, {chosen.version} goes on: {state.message}")
    return chosen


def _cause(state: State[Any], what: str) -> NightshiftError:
    result = state.result(raise_on_failure=False)
    return (
        result
        if isinstance(result, NightshiftError)
        else GenerationError(f"{what}: {state.message}")
    )


@task(name="plan", cache_policy=NO_CACHE)
def plan_partition(
    storage: Storage, job: Job, day: Day, models: list[ModelVersion], settings: Any
) -> Plan:
    """Pins inputs, models and settings; reads footers only."""
    pins = [model.pin for model in models]
    plan = while_files_change(
        lambda: plan_date(
            storage, job, day, [read_inputs(storage, table) for table in job.tables], pins, settings
        )
    )
    if not plan.prepared:
        what = "rows" if plan.orders else f"rows of {job.table}"
        get_run_logger().info(f"{plan.num_rows:,} {what} in {plan.num_shards:,} shards")
    names = " and ".join(model.version for model in models)
    get_run_logger().info(f"model {names}, fingerprint {plan.fingerprint}")
    return plan


@task(name="prepare rows", cache_policy=NO_CACHE)
def prepare_partition(storage: Storage, plan: Plan, *, background: bool) -> Plan:
    """The plan with its rows, for a job that computes them from several tables."""
    key = f"{plan.job.replace('_', '-')}-preparation"
    with Stage(f"rows of {plan.job} {plan.date}", 1.0, key, unit="") as stage:
        watcher = Watcher(stage.line, stage.update)
        plan = prepare_rows(load_settings(), storage, plan, watcher, is_background=background)
    get_run_logger().info(f"{plan.num_rows:,} rows in {plan.num_shards:,} shards")
    return plan


@task(name="generate shards", cache_policy=NO_CACHE)
def generate_parts(
    storage: Storage, plan: Plan, *, num_actors: int, background: bool
) -> list[Receipt]:
    with Stage(
        f"{plan.job} {plan.date}", plan.num_rows, f"{plan.job.replace('_', '-')}-progress"
    ) as stage:

        def tell(progress: Progress) -> None:
            stage.update(
                progress.done_rows, f"shard {progress.done_shards}/{progress.total_shards}"
            )

        return generate_shards(
            load_settings(),
            storage,
            plan,
            stage.line,
            tell,
            num_actors=num_actors,
            background=background,
        )


@task(name="check", cache_policy=NO_CACHE)
def check_partition(
    storage: Storage, job: Job, plan: Plan, receipts: list[Receipt], *, ignore_gates: bool
) -> tuple[dict[str, float], list[str]]:
    """The partition's quality, and the gates that it does not keep; raises PartitionHeld naming
    each one of these, unless they are to be ignored."""
    if not any(receipt.input_rows for receipt in receipts):
        raise PartitionHeld(
            f"every row of {job.table} is from after {plan.date}: there is nothing to generate"
        )
    quality = measure_quality(storage, plan, receipts, job.meter())
    breaches = [
        str(breach) for breach in find_breaches(job.gates, quality, _last_quality(storage, plan))
    ]
    if breaches and not ignore_gates:
        raise PartitionHeld("; ".join(breaches))
    for breach in breaches:
        get_run_logger().warning(f"published all the same: {breach}")
    return quality, breaches


def _last_quality(storage: Storage, plan: Plan) -> dict[str, Any] | None:
    day = Day.fromisoformat(plan.date)
    for days in range(1, DAYS_LOOKED_BACK + 1):
        published = read_published(storage, plan.job, (day - timedelta(days=days)).isoformat())
        if published:
            return published.manifest.quality
    return None


@task(name="publish", cache_policy=NO_CACHE)
def publish_partition(
    storage: Storage,
    plan: Plan,
    receipts: list[Receipt],
    manifest: Manifest,
    published: Published | None,
) -> bool:
    """False where another run was first with the same rows."""
    return publish(storage, plan, receipts, manifest, published)
