"""The flow that makes one partition: decide what to do, make the parts, settle the outcome."""

import time
from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from flows.parameters import (
    ActorCount,
    DateText,
    JobName,
    PolicyText,
    SettingsText,
    job_settings,
    resolve_date,
    run_name,
    titled,
)
from flows.partition.decide import Request, decide
from flows.partition.make import make
from flows.partition.settle import (
    PartitionResult,
    publish_made,
    settle_failure,
    settle_publication,
    settle_unchanged,
)
from flows.server.health import ending_with_server, tag_run
from infra.errors import InputError, NightshiftError
from infra.settings import load_settings
from infra.storage import Storage, open_storage
from workers.jobs import find_job


@flow(name="generate", flow_run_name=lambda: run_name("job"))
@ending_with_server()
def generate(  # noqa: PLR0913, PLR0917  # the arguments are the form in the Prefect UI: best flat
    job: Annotated[JobName, titled("Job")],
    date: DateText = "",
    model_policy: PolicyText = "champion",
    settings: SettingsText = "",
    force: Annotated[bool, titled("Generate again")] = False,
    retry_quarantined: Annotated[bool, titled("Retry rows set aside")] = False,
    ignore_gates: Annotated[bool, titled("Publish in spite of gates")] = False,
    num_actors: ActorCount = 0,
    background: Annotated[bool, titled("In the background")] = False,
) -> State[PartitionResult]:
    """Makes and publishes one partition. Leaves it alone if it is published and nothing changed.

    Args:
        job: What to generate.
        date: YYYY-MM-DD, the day whose partition to make. Empty: the day before the scheduled start
            (UTC).
        model_policy: champion, as-of (the newest model trained on data up to the date), or the name
            of a version.
        settings: Job settings to change, as key=value separated by blanks or lines.
        force: Generate every row again, even if the partition is published and nothing changed.
        retry_quarantined: Retry the rows that were rejected or raised, with new seeds; keep all
            others.
        ignore_gates: Publish even if a gate fails; the manifest then names the gate.
        num_actors: How many actors generate at once. 0: as many as there is room for.
        background: Yield the cluster while another run needs it.
    """
    started = time.monotonic()
    if force and retry_quarantined:
        raise InputError(
            "force generates every row again, retry_quarantined only those set aside: choose one"
        )
    storage = open_storage(load_settings(), is_in_use=bool(flow_run.parent_flow_run_id))
    declared = find_job(job)
    request = Request(
        job=declared,
        day=resolve_date(date),
        model_policy=model_policy,
        settings=job_settings(declared, settings),
        force=force,
        retry_quarantined=retry_quarantined,
        ignore_gates=ignore_gates,
        num_actors=num_actors,
        background=background,
    )
    tag_run(declared.name, request.day.isoformat())
    has_swap = _probe_swap(storage)
    decision = decide(storage, request)
    if decision.unchanged_because:
        return settle_unchanged(storage, decision)
    try:
        made = make(storage, request, decision)
        seconds = time.monotonic() - started
        publication = publish_made(storage, decision, made, seconds, has_swap=has_swap)
    except NightshiftError as exc:
        return settle_failure(storage, decision, exc)
    return settle_publication(storage, made.plan, publication)


def _probe_swap(storage: Storage) -> bool:
    """Whether the store supports conditional writes, so that one publisher wins; warns if not."""
    if storage.probe().conditional_put:
        return True
    get_run_logger().warning(
        f"{storage.uri} ignores conditional writes: a Prefect concurrency limit lets one run of a "
        "job publish at a time. Runs of the same job must not use different Prefect servers"
    )
    return False
