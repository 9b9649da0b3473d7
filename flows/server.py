"""The Prefect server: whether it is there, and where its pages are."""

import httpx
from prefect.settings import PREFECT_API_URL

from infra.errors import ServiceError

TIMEOUT_S = 5.0


def require_server() -> None:
    """Raises ServiceError, with what to do, unless the Prefect server answers."""
    address = PREFECT_API_URL.value()
    if not address:
        raise ServiceError("no Prefect server is set: run `nightshift up`, or set PREFECT_API_URL")
    try:
        httpx.get(f"{address}/health", timeout=TIMEOUT_S).raise_for_status()
    except httpx.HTTPError as exc:
        raise ServiceError(
            f"the Prefect server at {address} does not answer ({exc}): run `nightshift up`, or look at PREFECT_API_URL"
        ) from exc


def ui_url() -> str:
    """The address of the UI that belongs to the server."""
    return str(PREFECT_API_URL.value() or "").removesuffix("/api")


def run_page(flow_run_id: str) -> str:
    return f"{ui_url()}/runs/flow-run/{flow_run_id}"
