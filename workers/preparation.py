"""Prepares the rows of a partition before they are generated, once for each plan."""

import json
import logging
from dataclasses import replace

from infra.parquet import read_footer
from infra.settings import Settings
from infra.storage import Storage
from workers.cluster import actor_options, connect, pool_size
from workers.plan import InputObject, Plan
from workers.prepare_actor import SUMMARY_KEY, PrepareActor
from workers.remote_actor import run_on_one_actor
from workers.reports import LogLine, Watcher


def find_prepared(storage: Storage, plan: Plan) -> Plan | None:
    """The plan with its prepared rows; None where they are not there yet. A job without any is always prepared."""
    if plan.prepared is None:
        return plan
    info = storage.head(plan.prepared_key)
    if info is None:
        return None
    footer = read_footer(storage, info.key)
    groups = tuple(group.num_rows for group in footer.row_groups)
    objects = (InputObject(info.key, info.etag, info.size_bytes, groups),) if footer.num_rows else ()
    summary = json.loads(footer.metadata[SUMMARY_KEY])
    return replace(plan, prepared=replace(plan.prepared, objects=objects, summary=summary))


def prepare_rows(settings: Settings, storage: Storage, plan: Plan, watcher: Watcher) -> Plan:
    """The plan with its prepared rows, computed now on one actor unless an earlier run has done so."""
    found = find_prepared(storage, plan)
    if found is not None:
        if plan.prepared is not None:
            watcher.on_line(LogLine(logging.INFO, f"the {found.num_rows:,} rows were prepared before"))
        return found
    connect(settings)
    threads, num_gpus = plan.settings["threads"], plan.settings["num_gpus"]
    pool_size(1, 1, threads, num_gpus)
    run_on_one_actor(
        PrepareActor,
        actor_options(threads, num_gpus),
        settings,
        plan,
        label="preparation",
        watcher=watcher,
        stall_timeout_s=settings.stall_timeout_s,
        advice="Give the actor a larger node, or lower max_history",
    )
    found = find_prepared(storage, plan)
    assert found is not None
    return found
