"""Quality of a whole partition, measured by its job's meter."""

from collections.abc import Sequence

from infra.storage import Storage
from infra.storage.parquet import iter_batches, open_parquet
from workers.partitions.parts import Receipt, part_key
from workers.plans.plan import Plan
from workers.quality.gates import PASSED_SHARE, Meter, Quality


def measure_quality(
    storage: Storage, plan: Plan, receipts: Sequence[Receipt], meter: Meter
) -> Quality:
    """`passed_share` of all rows, and the meter's figures of the accepted ones."""
    num_input = sum(receipt.input_rows for receipt in receipts)
    for receipt in receipts:
        with open_parquet(storage, part_key(plan, receipt.shard)) as file:
            for batch in iter_batches(file, columns=list(meter.columns)):
                meter.add(batch)
    summary = plan.prepared.summary if plan.prepared else {}
    passed_share = sum(receipt.accepted for receipt in receipts) / num_input if num_input else 0.0
    return {PASSED_SHARE: passed_share, **meter.quality(plan.orders, summary)}
