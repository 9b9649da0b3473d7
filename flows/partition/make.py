"""Makes the parts of a partition and checks them. Publishes nothing."""

from dataclasses import dataclass
from datetime import date as Day
from datetime import timedelta

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from flows.partition.decide import Decision, Request
from flows.run_page.progress import Stage
from flows.run_page.traces import show_traces
from infra.errors import PartitionHeld
from infra.settings import load_settings
from infra.storage import Storage
from workers.actors.messages import Watcher
from workers.generation.generate import Progress, generate_shards
from workers.generation.preparation import prepare_rows
from workers.job import Job
from workers.partitions.manifest import read_published
from workers.partitions.parts import Receipt, detect_removed_work
from workers.partitions.quality import measure_quality
from workers.plans.plan import Plan
from workers.quality.gates import Quality, find_breaches

DAYS_LOOKED_BACK = 14
"""How far back gates look for the last published partition to compare with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """The parts of a plan, ready to be published."""

    plan: Plan
    receipts: list[Receipt]
    quality: Quality
    breaches: list[str]
    """Gates that failed and are ignored."""


def make(storage: Storage, request: Request, decision: Decision) -> Made:
    """Prepares rows, generates the shards that are missing, asks the gates.

    Raises PartitionHeld naming each gate that failed, unless the request ignores them.
    """
    plan = decision.plan
    if request.force:
        _discard_earlier_work(storage, plan)
    if plan.prepared:
        plan = prepare_partition(storage, plan, background=request.background)
    with detect_removed_work(plan):
        receipts = generate_parts(
            storage, plan, num_actors=request.num_actors, background=request.background
        )
        show_traces(storage, plan.trace_prefix, f"{plan.job.replace('_', '-')}-traces")
        quality, breaches = check_partition(
            storage, request.job, plan, receipts, ignore_gates=request.ignore_gates
        )
    return Made(plan=plan, receipts=receipts, quality=quality, breaches=breaches)


def _discard_earlier_work(storage: Storage, plan: Plan) -> None:
    """Deletes what earlier runs of the plan made, so that every row is generated again."""
    keys = [item.key for item in storage.list(f"{plan.prefix}part-")]
    keys += [item.key for item in storage.list(f"{plan.prefix}quarantine-")]
    if plan.prepared:
        keys.append(plan.prepared_key)
    storage.delete(keys)


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
    key = f"{plan.job.replace('_', '-')}-progress"
    with Stage(f"{plan.job} {plan.date}", plan.num_rows, key) as stage:

        def show_progress(progress: Progress) -> None:
            shards = f"shard {progress.done_shards}/{progress.total_shards}"
            stage.update(progress.done_rows, shards)

        return generate_shards(
            load_settings(),
            storage,
            plan,
            stage.line,
            show_progress,
            num_actors=num_actors,
            background=background,
        )


@task(name="check", cache_policy=NO_CACHE)
def check_partition(
    storage: Storage, job: Job, plan: Plan, receipts: list[Receipt], *, ignore_gates: bool
) -> tuple[Quality, list[str]]:
    """The partition's quality and the gates that failed.

    Raises PartitionHeld naming each of these gates, unless they are ignored.
    """
    if not any(receipt.input_rows for receipt in receipts):
        raise PartitionHeld(
            f"every row of {job.table} is from after {plan.date}: there is nothing to generate"
        )
    quality = measure_quality(storage, plan, receipts, job.meter())
    found = find_breaches(job.gates, quality, _last_quality(storage, plan))
    breaches = [str(breach) for breach in found]
    if breaches and not ignore_gates:
        raise PartitionHeld("; ".join(breaches))
    for breach in breaches:
        get_run_logger().warning(f"published all the same: {breach}")
    return quality, breaches


def _last_quality(storage: Storage, plan: Plan) -> Quality | None:
    """The quality of the newest partition that is published for one of the days before."""
    day = Day.fromisoformat(plan.date)
    for days in range(1, DAYS_LOOKED_BACK + 1):
        published = read_published(storage, plan.job, (day - timedelta(days=days)).isoformat())
        if published:
            return published.manifest.quality
    return None
