"""How a run reports on its partition: a page and an outcome in the store, artifacts on the run's
page in the UI."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from prefect import task
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from flows.run_page.overview import LINK_EXPIRES_S
from flows.run_page.summary import (
    describe_row,
    figures,
    how_to_publish,
    markdown_held,
    markdown_links,
    markdown_summary,
)
from flows.server.health import show_in_ui
from infra.errors import NightshiftError, ObjectNotFound
from infra.storage import Storage
from workers.partitions.manifest import Manifest
from workers.partitions.outputs import sample_rows
from workers.partitions.states import read_outcome, record_outcome
from workers.plans.plan import Plan
from workers.report import has_report, write_grid, write_report

SAMPLES = 10


def report_held(plan: Plan, reasons: list[str]) -> None:
    """Shows on the run's page and in its log why nothing was published, and what to do about it."""
    text = markdown_held(plan, reasons)
    advice = how_to_publish(plan.job, plan.date, plan.fingerprint)
    get_run_logger().warning(f"held back: {'; '.join(reasons)}. {advice}")
    show_in_ui(
        lambda: create_markdown_artifact(
            text, key=f"{plan.job.replace('_', '-')}-held", description="held back"
        )
    )


def report_published(storage: Storage, plan: Plan, manifest: Manifest) -> None:
    """Records that the plan is published and writes its report, unless an earlier run has."""
    record_published(storage, plan)
    report_partition(storage, manifest)


@contextmanager
def warn_on_failure(loss: str) -> Iterator[None]:
    """For work after the rows are published: logs an error as a warning that says what is lost,
    since the run has succeeded."""
    try:
        yield
    except NightshiftError as exc:
        get_run_logger().warning(f"the rows are published, but {loss}: {exc}")


@warn_on_failure("the outcome is not recorded")
def record_published(storage: Storage, plan: Plan) -> None:
    """Records the outcome, unless it is recorded: the run that published may have been killed
    before it could."""
    with suppress(ObjectNotFound):
        if read_outcome(storage, plan.prefix).state == "published":
            return
    record_outcome(storage, plan, "published", [])


@warn_on_failure("their report is missing")
def report_partition(storage: Storage, manifest: Manifest) -> None:
    """Writes the partition's page to the store and shows figures, samples and links on the run's
    page. Does nothing if the partition's page exists."""
    if has_report(storage, manifest):
        return
    key = manifest.job.replace("_", "-")
    title = f"{manifest.job} · {manifest.date}"
    samples = sample_rows(storage, manifest, SAMPLES)
    rows = figures(manifest)
    text = markdown_summary(manifest, samples)
    show_in_ui(lambda: create_table_artifact(rows, key=f"{key}-figures", description=title))
    show_in_ui(lambda: create_markdown_artifact(text, key=f"{key}-summary", description=title))
    keys = store_report(storage, manifest, rows, samples)
    links = [storage.presign(each, LINK_EXPIRES_S) for each in keys]
    show_in_ui(
        lambda: create_link_artifact(
            links[0], "report", key=f"{key}-report", description=f"{title}: {keys[0]}"
        )
    )
    if len(links) > 1:
        show_in_ui(
            lambda: create_image_artifact(links[1], key=f"{key}-pictures", description=title)
        )
    rows_text = markdown_links(manifest, lambda each: storage.presign(each, LINK_EXPIRES_S))
    show_in_ui(lambda: create_markdown_artifact(rows_text, key=f"{key}-rows", description=title))


@task(name="report", cache_policy=NO_CACHE)
def store_report(
    storage: Storage,
    manifest: Manifest,
    figures: list[dict[str, str]],
    samples: list[dict[str, Any]],
) -> list[str]:
    """Writes the page and, for a job of pictures, a grid of some; returns their keys."""
    words = [(str(next(iter(row.values()))), describe_row(row)) for row in samples]
    page = write_report(
        storage, manifest, [(row["figure"], row["value"]) for row in figures], words
    )
    return [page, write_grid(storage, manifest)] if manifest.orders else [page]
