"""Progress of long work: a bar in the terminal, an artifact on the run's page in the Prefect UI.

Also takes the actors' log lines to the run's log. A Prefect server that is away never stops the
work.
"""

import sys
import threading
import time
from contextlib import ExitStack
from types import TracebackType
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.utilities.context import get_task_and_flow_run_ids
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from flows.server.interruption import check_interruption
from workers.actors.messages import LogLine

UPDATE_EVERY_S = 2.0
SILENT_AFTER_FAILURE_S = 15.0
CLIENT_TIMEOUT_S = 3.0
console = Console(stderr=True)


class Stage:
    """One stretch of work of `total` units; without a unit, a share of it. A context manager, in a
    flow or task run."""

    def __init__(self, what: str, total: float, key: str, unit: str = "rows") -> None:
        self._what, self._total, self._unit = what, max(total, 1), unit
        self._key, self._log = key, get_run_logger()
        self._open = ExitStack()

    def __enter__(self) -> "Stage":
        self._started = time.monotonic()
        client = get_client(sync_client=True, httpx_settings={"timeout": CLIENT_TIMEOUT_S})
        self._artifact = ProgressArtifact(self._open.enter_context(client), self._key)
        self._artifact.show(0.0, self._what)
        self._bar = BARS.add(self._what, self._total)
        self._open.callback(BARS.remove, self._bar)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            BARS.update(self._bar, self._total, self._count(self._total))
            self._artifact.show(100.0, self._describe(self._total, ""), force=True)
        self._open.close()

    def line(self, line: LogLine) -> None:
        self._log.log(line.level, line.text)

    def update(self, done: float, note: str = "") -> None:
        """`done` units so far. Also the place where a thread hears that its flow was cancelled."""
        check_interruption()
        BARS.update(self._bar, done, f"{self._count(done)} {note}")
        self._artifact.show(100 * done / self._total, self._describe(done, note))

    def _describe(self, done: float, note: str) -> str:
        elapsed = time.monotonic() - self._started
        left = (self._total - done) * elapsed / done if done else 0.0
        rate = f", {done / elapsed:.1f} {self._unit}/s" if self._unit and elapsed else ""
        return f"{self._what}: {self._count(done)}{rate}, {left:.0f} s left {note}".rstrip()

    def _count(self, done: float) -> str:
        return (
            f"{done:,.0f} of {self._total:,.0f} {self._unit}"
            if self._unit
            else f"{done / self._total:.0%}"
        )


class ProgressArtifact:
    """A progress artifact of the current run, at most every two seconds.

    A server that does not answer is told about once and asked again after a pause. Nothing is
    retried, and `client` should have a short timeout: actors wait for the thread that is here.
    """

    def __init__(self, client: SyncPrefectClient, key: str) -> None:
        self._client, self._key = client, key
        self._task_run_id, self._flow_run_id = get_task_and_flow_run_ids()
        self._log = get_run_logger()
        self._id: UUID | None = None
        self._next_at = 0.0
        self._was_away = False

    def show(self, percent: float, text: str, *, force: bool = False) -> None:
        if time.monotonic() < self._next_at and not force:
            return
        try:
            with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
                self._send(percent, text)
            pause_s = UPDATE_EVERY_S
        except httpx.HTTPError as exc:
            pause_s = SILENT_AFTER_FAILURE_S
            if not self._was_away:
                self._log.warning(
                    f"progress is not shown in the Prefect UI for now, the work goes on: {exc}"
                )
            self._was_away = True
        self._next_at = time.monotonic() + pause_s

    def _send(self, percent: float, text: str) -> None:
        if self._id is None:
            request = ArtifactCreate(
                type="progress",
                key=self._key,
                description=text,
                data=percent,
                task_run_id=self._task_run_id,
                flow_run_id=self._flow_run_id,
            )
            self._id = self._client.create_artifact(request).id
        else:
            self._client.update_artifact(self._id, ArtifactUpdate(description=text, data=percent))


class Bars:
    """The bars of all stages at work in this process: a terminal has room for one live display
    only."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shown: set[TaskID] = set()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not sys.stderr.isatty(),
        )

    def add(self, what: str, total: float) -> TaskID:
        with self._lock:
            if not self._shown:
                self._progress.start()
            bar = self._progress.add_task(what, total=total, note="")
            self._shown.add(bar)
            return bar

    def update(self, bar: TaskID, done: float, note: str) -> None:
        self._progress.update(bar, completed=done, note=note)

    def remove(self, bar: TaskID) -> None:
        """The last bar stays on the terminal as it is, one that ends while others go on gives its
        line back."""
        with self._lock:
            self._shown.remove(bar)
            if not self._shown:
                self._progress.stop()
            self._progress.remove_task(bar)


BARS = Bars()
