"""Runs that are at work, late or scheduled, from the Prefect server."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterType,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import ArtifactSort, FlowRunSort
from prefect.exceptions import PrefectException

from flows.server.health import require_server, run_page
from infra.errors import ServiceError

FLOWS = ("nightly", "generate", "train", "backfill", "promote", "rollback")
AT_WORK = (StateType.RUNNING, StateType.PENDING, StateType.CANCELLING, StateType.PAUSED)
MAX_RUNS = 50
TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAtWork:
    name: str
    state: str
    since: datetime | None
    progress: float | None
    """Percent of the current stage; None before the run's first report."""
    doing: str
    """The current stage, with rate and time left."""
    page: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NextRun:
    name: str
    at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AtWork:
    runs: list[RunAtWork]
    late: dict[str, int]
    """The number of late runs of each flow."""
    scheduled: list[NextRun]
    """The next run of each flow."""


def look_at_work() -> AtWork:
    """All three, from the server; raises ServiceError, with what to do, if it does not answer."""
    require_server()
    try:
        with get_client(sync_client=True, httpx_settings={"timeout": TIMEOUT_S}) as client:
            running = _read(client, AT_WORK, FlowRunSort.START_TIME_DESC)
            waiting = _read(
                client, (StateType.SCHEDULED,), FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC
            )
            flows = {flow.id: flow.name for flow in client.read_flows(flow_filter=_our_flows())}
            runs = [_at_work(client, run) for run in running]
    except (httpx.HTTPError, PrefectException) as exc:
        raise ServiceError(f"cannot list the runs of the Prefect server: {exc}") from exc
    late: Counter[str] = Counter()
    scheduled: dict[str, NextRun] = {}
    for run in waiting:
        name = flows.get(run.flow_id, run.name)
        if run.state_name == "Late":
            late[name] += 1
        else:  # sorted by start: the first run of a flow is its next one
            scheduled.setdefault(name, NextRun(name=name, at=run.next_scheduled_start_time))
    return AtWork(runs=runs, late=dict(late), scheduled=list(scheduled.values()))


def _our_flows() -> FlowFilter:
    return FlowFilter(name=FlowFilterName(any_=list(FLOWS)))


def _read(
    client: SyncPrefectClient, states: tuple[StateType, ...], sort: FlowRunSort
) -> list[FlowRun]:
    types = FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states)))
    return client.read_flow_runs(
        flow_filter=_our_flows(),
        flow_run_filter=FlowRunFilter(state=types),
        sort=sort,
        limit=MAX_RUNS,
    )


def _at_work(client: SyncPrefectClient, run: FlowRun) -> RunAtWork:
    """A run with its newest progress artifact."""
    found = client.read_artifacts(
        artifact_filter=ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]),
            type=ArtifactFilterType(any_=["progress"]),
        ),
        sort=ArtifactSort.CREATED_DESC,
        limit=1,
    )
    artifact = found[0] if found else None
    return RunAtWork(
        name=run.name,
        state=run.state_name or "",
        since=run.start_time,
        progress=float(str(artifact.data)) if artifact else None,
        doing=(artifact.description or "") if artifact else "",
        page=run_page(str(run.id)),
    )
