"""Ends a run of one partition: published, unchanged, held or failed. Records and reports it."""

from contextlib import nullcontext
from dataclasses import dataclass

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.partition.decide import Decision, published_since
from flows.partition.make import Made
from flows.run_page.overview import renew_overview
from flows.run_page.report import report_held, report_published, warn_on_failure
from flows.server.exclusive import publishing_alone
from infra.errors import (
    NightshiftError,
    ObjectNotFound,
    PartitionHeld,
    PreconditionFailed,
    StorageError,
)
from infra.storage import Storage
from workers.partitions.leftovers import clean_up_run, remove_leftovers
from workers.partitions.manifest import Manifest, Published, make_manifest
from workers.partitions.parts import Receipt
from workers.partitions.publish import publish
from workers.partitions.states import record_outcome
from workers.plans.plan import Plan

OVERTAKEN = "was published by another run in the meantime"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionResult:
    """What a run did with a partition, for the caller of the flow."""

    job: str
    date: str
    state: str
    """published, unchanged."""
    message: str
    manifest: Manifest
    flow_run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A manifest, and whether this run's or an equal one of another run was published."""

    manifest: Manifest
    is_ours: bool


def settle_unchanged(storage: Storage, decision: Decision) -> State[PartitionResult]:
    """Repeats what a killed publisher may have left undone: cleaning up, recording, reporting."""
    assert decision.published is not None
    manifest = decision.published.manifest
    remove_leftovers_or_warn(storage, decision.plan)
    report_published(storage, decision.plan, manifest)
    return _completed("unchanged", decision.plan, manifest, decision.unchanged_because)


def publish_made(
    storage: Storage, decision: Decision, made: Made, seconds: float, *, has_swap: bool
) -> Publication:
    """Publishes what was made. `has_swap`: the store itself lets one publisher win."""
    plan, before, run = made.plan, decision.published, str(flow_run.id)
    manifest = make_manifest(plan, made.receipts, made.quality, seconds, run, before, made.breaches)
    with nullcontext() if has_swap else publishing_alone(plan.job, plan.date):
        is_ours = publish_partition(storage, plan, made.receipts, manifest, before)
    return Publication(manifest=manifest, is_ours=is_ours)


def settle_publication(
    storage: Storage, plan: Plan, publication: Publication
) -> State[PartitionResult]:
    """Records and reports a publication. The rows are published, whatever happens here."""
    if not publication.is_ours:
        return _completed("unchanged", plan, publication.manifest, OVERTAKEN)
    report_published(storage, plan, publication.manifest)
    renew_overview(storage)
    return _completed("published", plan, publication.manifest)


def settle_failure(
    storage: Storage, decision: Decision, error: NightshiftError
) -> State[PartitionResult]:
    """Records a held partition or a failure. Raises `error` again unless the partition is held, or
    another run has published it meanwhile."""
    is_store_away = isinstance(error, StorageError) and not isinstance(
        error, ObjectNotFound | PreconditionFailed
    )
    if is_store_away:
        raise error  # nothing can be recorded
    plan = decision.plan
    # A winner removes the parts of the losers: their errors then say nothing about the partition.
    if rival := published_since(storage, plan, decision.published):
        return _settle_overtaken(storage, plan, rival)
    if isinstance(error, PartitionHeld):
        reasons = str(error).split("; ")
        record_outcome(storage, plan, "held", reasons)
        report_held(plan, reasons)
        renew_overview(storage)
        return Failed(name="Held", message=str(error), data=error)
    record_outcome(storage, plan, "failed", [str(error)])
    renew_overview(storage)
    raise error


@warn_on_failure("what they supersede is still there")
def remove_leftovers_or_warn(storage: Storage, plan: Plan) -> None:
    remove_leftovers(storage, plan.job, plan.date)


def _settle_overtaken(storage: Storage, plan: Plan, rival: Published) -> State[PartitionResult]:
    with warn_on_failure("what this run made in vain is still there"):
        clean_up_run(storage, plan)
    return _completed("unchanged", plan, rival.manifest, OVERTAKEN)


def _completed(
    state: str, plan: Plan, manifest: Manifest, reason: str = ""
) -> State[PartitionResult]:
    """`reason`: why the rows were not published by this run; empty where they were."""
    counts = manifest.counts
    message = f"{plan.job} {plan.date}: {counts.accepted:,} rows"
    message += f"; it {reason}" if reason else " published"
    if not reason and counts.set_aside:
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


@task(name="publish", cache_policy=NO_CACHE)
def publish_partition(
    storage: Storage,
    plan: Plan,
    receipts: list[Receipt],
    manifest: Manifest,
    before: Published | None,
) -> bool:
    """False where another run published the same rows first."""
    return publish(storage, plan, receipts, manifest, before)
