"""What an actor tells its driver while it works: log lines and a count of what is done.

The driver asks for a report every second through a second thread of the actor, so a long shard or
training stays visible, and a line that was logged just before a crash is not lost with the shard's
result.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

MAX_LINES = 20
"""Lines of one report: what a driver takes to a run's log must not grow with the number of rows."""


@dataclass(frozen=True, slots=True)
class LogLine:
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who wants to hear what the actors do: log lines, and rows (or a fraction) in flight."""

    on_line: Callable[[LogLine], None] = lambda line: None
    on_progress: Callable[[float], None] = lambda done: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    node: str
    lines: list[LogLine] = field(default_factory=list)
    done: float = 0.0
    """Rows of the shard, or the fraction of a training, that are done."""
    doing: str = ""


class Reporter(logging.Handler):
    """Collects an actor's log lines and progress until the driver fetches them; safe between
    threads."""

    def __init__(self, label: str, node: str) -> None:
        super().__init__(logging.INFO)
        self._label, self._node = label, node
        self._guard = threading.Lock()
        self._lines: list[LogLine] = []
        self._num_dropped = 0
        self._done = 0.0
        self._doing = ""
        logger = logging.getLogger("nightshift")
        logger.setLevel(logging.INFO)
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        with self._guard:
            if len(self._lines) < MAX_LINES:
                self._lines.append(self._line(record.levelno, record.getMessage()))
            else:
                self._num_dropped += 1

    def progress(self, done: float, doing: str = "") -> None:
        with self._guard:
            self._done, self._doing = done, doing

    def fetch(self) -> Report:
        """The lines since the last call, and where the work stands."""
        with self._guard:
            lines, self._lines = self._lines, []
            if self._num_dropped:
                lines.append(
                    self._line(logging.INFO, f"{self._num_dropped} further lines are left out")
                )
                self._num_dropped = 0
            return Report(node=self._node, lines=lines, done=self._done, doing=self._doing)

    def pass_on(self, report: Report) -> None:
        """Takes the report of another process, in whose name this one reports."""
        with self._guard:
            self._node, self._done, self._doing = report.node, report.done, report.doing
            free = MAX_LINES - len(self._lines)
            self._lines += report.lines[:free]
            self._num_dropped += len(report.lines[free:])

    def _line(self, level: int, text: str) -> LogLine:
        place = f"{self._label} on {self._node}" if self._node else self._label
        return LogLine(level, f"{place} · {text}")
