"""Progress of long work: a bar in the terminal, an artifact on the run's page in the Prefect UI.

Also writes the actors' log lines to the run's log. The work continues if the Prefect server does
not answer.
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
    """A piece of work of `total` units, shown as a percentage if the unit is empty. A context
    manager; needs a flow or task run."""

    def __init__(self, what: str, total: float, key: str, unit: str = "rows") -> None:
        self._what = what
        self._total = max(total, 1)
        self._unit = unit
        self._key = key
        self._log = get_run_logger()
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
        """Shows that `done` units are done. Raises if the flow was cancelled: a thread finds out
        only here."""
        check_interruption()
        BARS.update(self._bar, done, f"{self._count(done)} {note}")
        self._artifact.show(100 * done / self._total, self._describe(done, note))

    def _describe(self, done: float, note: str) -> str:
        elapsed = time.monotonic() - self._started
        left = (self._total - done) * elapsed / done if done else 0.0
        rate = f", {done / elapsed:.1f} {self._unit}/s" if self._unit and elapsed else ""
        return f"{self._what}: {self._count(done)}{rate}, {left:.0f} s left {note}".rstrip()

    def _count(self, done: float) -> str:
        if not self._unit:
            return f"{done / self._total:.0%}"
        return f"{done:,.0f} of {self._total:,.0f} {self._unit}"


class ProgressArtifact:
    """A progress artifact of the current run, updated every two seconds at most.

    If the server does not answer, this logs one warning and pauses. It does not retry, and `client`
    should have a short timeout: actors wait for the calling thread.
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
                    f"the Prefect UI does not show progress for now; the work continues: {exc}"
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
    """The bars of all running stages of this process, in the one live display that a terminal can
    have."""

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
        """Removes the bar's line; the last bar stays visible on the terminal."""
        with self._lock:
            self._shown.remove(bar)
            if not self._shown:
                self._progress.stop()
            self._progress.remove_task(bar)


BARS = Bars()
