"""Links to profiler traces on a run's page."""

from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from aigc_models.tracing import TRACE_SUFFIX
from flows.run_page.overview import LINK_EXPIRES_S
from flows.server.health import show_in_ui
from infra.storage import Storage


def show_traces(storage: Storage, prefix: str, key: str) -> None:
    """Shows links to the traces below `prefix`, if there are any."""
    found = [item.key for item in storage.list(prefix) if item.key.endswith(TRACE_SUFFIX)]
    if not found:
        return
    links = [f"- [{each}]({storage.presign(each, LINK_EXPIRES_S)})" for each in found]
    text = "\n".join(
        ["# Profiler traces", "", *links, "", "Open them with https://ui.perfetto.dev"]
    )
    show_in_ui(lambda: create_markdown_artifact(text, key=key, description="profiler traces"))
    get_run_logger().info(f"profiler traces, for https://ui.perfetto.dev: {', '.join(found)}")
