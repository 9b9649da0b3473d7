"""Progress of long work: a bar in the terminal, an artifact on the run's page in the Prefect UI.

Also takes the actors' log lines to the run's log.
"""

import sys
import time
from types import TracebackType
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.logging import get_run_logger
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from workers.reports import LogLine

UPDATE_EVERY_S = 2.0
console = Console(stderr=True)


class Stage:
    """One stretch of work of `total` steps. A context manager, inside a flow or task run."""

    def __init__(self, what: str, total: float, key: str) -> None:
        self._what, self._total, self._key = what, max(total, 1), key
        self._log = get_run_logger()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn() if total > 1 else TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not sys.stderr.isatty(),
        )
        self._told_at = 0.0

    def __enter__(self) -> "Stage":
        self._started = time.monotonic()
        self._artifact = cast(UUID, create_progress_artifact(0.0, key=self._key, description=self._what))
        self._bar.start()
        self._task = self._bar.add_task(self._what, total=self._total, note="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.update(self._total, force=True)
        self._bar.stop()

    def line(self, line: LogLine) -> None:
        self._log.log(line.level, line.text)

    def update(self, done: float, note: str = "", *, force: bool = False) -> None:
        """`done` steps so far; the artifact follows every two seconds."""
        self._bar.update(self._task, completed=int(done) if self._total > 1 else done, note=note)
        now = time.monotonic()
        if force or now - self._told_at >= UPDATE_EVERY_S:
            self._told_at = now
            update_progress_artifact(self._artifact, 100 * done / self._total, self._describe(done, note))

    def _describe(self, done: float, note: str) -> str:
        elapsed = time.monotonic() - self._started
        left = (self._total - done) * elapsed / done if done else 0.0
        rate = f", {done / elapsed:.1f} rows/s" if self._total > 1 and elapsed else ""
        return f"{self._what}: {done:,.0f} of {self._total:,.0f}{rate}, {left:.0f} s left {note}".rstrip()
