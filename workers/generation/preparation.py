"""Prepares the rows of a partition before generation, once per plan."""

import logging

from infra.settings import Settings
from infra.storage import Storage
from workers.actors.cluster import actor_needs, connect
from workers.actors.messages import LogLine, Watcher
from workers.actors.single_actor import run_on_one_actor
from workers.generation.prepare_actor import PrepareActor
from workers.partitions.parts import work_removed_error
from workers.plans.plan import Plan
from workers.plans.prepared_rows import find_prepared


def prepare_rows(
    settings: Settings,
    storage: Storage,
    plan: Plan,
    watcher: Watcher,
    *,
    is_background: bool = False,
) -> Plan:
    """Returns the plan with its prepared rows, which one actor computes if no earlier run did.

    With `is_background`, other background runs do not pause for the actor.
    """
    found = find_prepared(storage, plan)
    if found is not None:
        watcher.on_line(LogLine(logging.INFO, f"the {found.num_rows:,} rows were prepared before"))
        return found
    connect(settings)
    run_on_one_actor(
        PrepareActor,
        settings,
        plan,
        needs=actor_needs(settings, plan.settings["threads"], plan.settings["num_gpus"]),
        label="preparation",
        watcher=watcher,
        advice="Give the actor a larger node, or lower max_history",
        is_background=is_background,
    )
    found = find_prepared(storage, plan)
    if found is None:
        raise work_removed_error(plan)
    return found
