"""The file of rows that a job prepares: found by its plan, with its summary in the footer, and
examples for the report.

The summary goes on into plan and manifest; examples, which are about people, stay in this file.
"""

import json
from dataclasses import replace

from infra.storage import Storage
from infra.storage.parquet import read_footer
from workers.pins import InputObject
from workers.plans.plan import Plan

SUMMARY_KEY, EXAMPLES_KEY = "nightshift-prepared", "nightshift-examples"
"""In the footer, as JSON: `Prepared.summary`, and what the job's `Preparer` remembers for the
report."""


def find_prepared(storage: Storage, plan: Plan) -> Plan | None:
    """The plan with its prepared rows; None where they are not there yet. A job without any is
    always prepared."""
    if plan.prepared is None:
        return plan
    info = storage.head(plan.prepared_key)
    if info is None:
        return None
    footer = read_footer(storage, info.key)
    groups = tuple(group.num_rows for group in footer.row_groups)
    objects = (
        (InputObject(info.key, info.etag, info.size_bytes, groups),) if footer.num_rows else ()
    )
    summary = json.loads(footer.metadata[SUMMARY_KEY])
    return replace(plan, prepared=replace(plan.prepared, objects=objects, summary=summary))
