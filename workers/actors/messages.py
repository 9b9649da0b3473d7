"""What an actor reports to its driver while it works: log lines and progress.

The driver fetches a report every second through a second thread of the actor. A long shard or
training therefore stays visible, and a line logged just before a crash is not lost.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

MAX_LINES = 20
"""Lines in one report: a run's log must not grow with the number of rows."""


@dataclass(frozen=True, slots=True)
class LogLine:
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Watcher:
    """Receives what actors report: log lines, and rows (or a fraction) in flight."""

    on_line: Callable[[LogLine], None] = lambda line: None
    on_progress: Callable[[float], None] = lambda done: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    node: str
    lines: list[LogLine] = field(default_factory=list)
    done: float = 0.0
    """Rows of the shards in hand, or the fraction of a training, that are done."""
    doing: str = ""


class Reporter(logging.Handler):
    """Collects an actor's log lines and progress until the driver fetches them; thread-safe."""

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
        """Returns the lines since the last call and the current progress."""
        with self._guard:
            lines, self._lines = self._lines, []
            if self._num_dropped:
                text = f"{self._num_dropped} further lines are left out"
                lines.append(self._line(logging.INFO, text))
                self._num_dropped = 0
            return Report(node=self._node, lines=lines, done=self._done, doing=self._doing)

    def forward(self, report: Report) -> None:
        """Reports on behalf of another process: takes over its node, progress and lines."""
        with self._guard:
            self._node, self._done, self._doing = report.node, report.done, report.doing
            num_free = MAX_LINES - len(self._lines)
            self._lines += report.lines[:num_free]
            self._num_dropped += len(report.lines[num_free:])

    def _line(self, level: int, text: str) -> LogLine:
        origin = f"{self._label} on {self._node}" if self._node else self._label
        return LogLine(level, f"{origin} · {text}")
