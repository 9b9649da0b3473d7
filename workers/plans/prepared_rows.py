"""The file of a job's prepared rows, with their summary and examples in its footer.

The summary is copied into plan and manifest. The examples are about people and stay in this file.
"""

import json
from dataclasses import replace

from infra.storage import Storage
from infra.storage.parquet import read_footer
from workers.pins import InputObject
from workers.plans.plan import Plan

SUMMARY_KEY = "nightshift-prepared"
"""Footer key of `Prepared.summary`, as JSON."""
EXAMPLES_KEY = "nightshift-examples"
"""Footer key of `Preparer.examples()`, as JSON."""


def find_prepared(storage: Storage, plan: Plan) -> Plan | None:
    """The plan with its prepared rows, or None if they are not stored yet.

    Returns the plan unchanged for a job that does not prepare rows.
    """
    if plan.prepared is None:
        return plan
    info = storage.head(plan.prepared_key)
    if info is None:
        return None
    footer = read_footer(storage, info.key)
    groups = tuple(group.num_rows for group in footer.row_groups)
    rows = InputObject(info.key, info.etag, info.size_bytes, groups)
    objects = (rows,) if footer.num_rows else ()
    summary = json.loads(footer.metadata[SUMMARY_KEY])
    return replace(plan, prepared=replace(plan.prepared, objects=objects, summary=summary))
