"""Profiler traces on a run's page: where they are, and what opens them."""

from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from aigc_models.tracing import TRACE_SUFFIX
from flows.run_page.overview import LINK_EXPIRES_S
from flows.server.health import show_in_ui
from infra.storage import Storage


def show_traces(storage: Storage, prefix: str, key: str) -> None:
    """Links to the traces below `prefix`; nothing where none was asked for."""
    found = [item.key for item in storage.list(prefix) if item.key.endswith(TRACE_SUFFIX)]
    if not found:
        return
    links = [f"- [{each}]({storage.presign(each, LINK_EXPIRES_S)})" for each in found]
    text = "\n".join(
        ["# Profiler traces", "", *links, "", "Open them with https://ui.perfetto.dev"]
    )
    show_in_ui(lambda: create_markdown_artifact(text, key=key, description="profiler traces"))
    get_run_logger().info(f"profiler traces, for https://ui.perfetto.dev: {', '.join(found)}")
