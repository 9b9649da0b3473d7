"""The page of all jobs and nights, rewritten whenever a run has changed something."""

from datetime import UTC, datetime

from prefect import task
from prefect.artifacts import create_link_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from flows.server.health import show_in_ui
from infra.errors import NightshiftError
from infra.settings import load_settings
from infra.storage import Storage
from workers.report import write_overview

LINK_EXPIRES_S = 7 * 24 * 3600
"""The longest lifetime that S3 gives a presigned URL."""


def renew_overview(storage: Storage) -> None:
    """Rewrites the page, once per night: a run that another run started leaves it to its parent.
    An error is logged as a warning."""
    if flow_run.parent_flow_run_id:
        return
    try:
        key = store_overview(storage)
        link = storage.presign(key, LINK_EXPIRES_S)
    except NightshiftError as exc:
        get_run_logger().warning(f"the overview was not renewed: {exc}")
        return
    show_in_ui(lambda: create_link_artifact(link, "all nights", key="overview", description=key))


@task(name="overview", cache_policy=NO_CACHE)
def store_overview(storage: Storage) -> str:
    return write_overview(storage, datetime.now(UTC).date(), load_settings().price_per_hour)
