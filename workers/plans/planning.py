"""Makes the plan of a partition from a job, a date, its inputs and model versions."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

from infra.storage import Storage
from workers.inputs.snapshot import Inputs
from workers.job import Job
from workers.pins import ModelPin, Order, Snapshot
from workers.plans.plan import Plan, Prepared


def plan_date(
    storage: Storage,
    job: Job,
    day: date,
    inputs: Sequence[Inputs],
    models: Sequence[ModelPin],
    settings: Any,
) -> Plan:
    """The plan for one date; `inputs` and `models` follow `job.tables` and `job.models`.

    Does not look for prepared rows; `workers.generation.preparation` does.
    """
    snapshot, *others = [each.snapshot(day) for each in inputs]
    prepared = Prepared(snapshots=tuple(others), model=models[0]) if job.preparation else None
    orders = job.place_orders(storage, snapshot, settings)
    return make_plan(job, day, snapshot, models[-1], settings, orders, prepared)


def make_plan(
    job: Job,
    day: date,
    snapshot: Snapshot,
    model: ModelPin,
    settings: Any,
    orders: tuple[Order, ...] = (),
    prepared: Prepared | None = None,
) -> Plan:
    return Plan(
        job.name,
        job.version,
        day.isoformat(),
        snapshot,
        model,
        asdict(settings),
        orders=orders,
        prepared=prepared,
    )
