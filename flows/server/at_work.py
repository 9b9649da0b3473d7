"""What is at work, late and scheduled, as the Prefect server tells it."""

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
MOST = 50
TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAtWork:
    name: str
    state: str
    since: datetime | None
    progress: float | None
    """Percent of the stage that it is in; None where it has told none yet."""
    doing: str
    """With rate and time left."""
    page: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NextRun:
    name: str
    at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AtWork:
    runs: list[RunAtWork]
    late: dict[str, int]
    """Runs that should have started, by their flow."""
    scheduled: list[NextRun]
    """The next one of each flow."""


def look_at_work() -> AtWork:
    """Raises ServiceError, with what to do, if the server does not answer."""
    require_server()
    try:
        with get_client(sync_client=True, httpx_settings={"timeout": TIMEOUT_S}) as client:
            running = _read(client, AT_WORK, FlowRunSort.START_TIME_DESC)
            waiting = _read(
                client, (StateType.SCHEDULED,), FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC
            )
            flows = {flow.id: flow.name for flow in client.read_flows(flow_filter=_ours())}
            runs = [_at_work(client, run) for run in running]
    except (httpx.HTTPError, PrefectException) as exc:
        raise ServiceError(f"the Prefect server did not tell what is at work: {exc}") from exc
    late = [run for run in waiting if run.state_name == "Late"]
    scheduled: dict[str, NextRun] = {}
    for run in waiting:
        if run.state_name != "Late":
            name = flows.get(run.flow_id, run.name)
            scheduled.setdefault(name, NextRun(name=name, at=run.next_scheduled_start_time))
    return AtWork(
        runs=runs,
        late=dict(Counter(flows.get(run.flow_id, run.name) for run in late)),
        scheduled=list(scheduled.values()),
    )


def _ours() -> FlowFilter:
    return FlowFilter(name=FlowFilterName(any_=list(FLOWS)))


def _read(
    client: SyncPrefectClient, states: tuple[StateType, ...], sort: FlowRunSort
) -> list[FlowRun]:
    types = FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states)))
    return client.read_flow_runs(
        flow_filter=_ours(), flow_run_filter=FlowRunFilter(state=types), sort=sort, limit=MOST
    )


def _at_work(client: SyncPrefectClient, run: FlowRun) -> RunAtWork:
    """With the newest of its progress artifacts."""
    told = client.read_artifacts(
        artifact_filter=ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]),
            type=ArtifactFilterType(any_=["progress"]),
        ),
        sort=ArtifactSort.CREATED_DESC,
        limit=1,
    )
    return RunAtWork(
        name=run.name,
        state=run.state_name or "",
        since=run.start_time,
        progress=float(str(told[0].data)) if told else None,
        doing=told[0].description or "" if told else "",
        page=run_page(str(run.id)),
    )
