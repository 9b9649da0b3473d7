"""What an actor tells its driver while it works: log lines and a count of what is done.

The driver asks for a report every second through a second thread of the actor, so a long shard or training stays
visible, and a line that was logged just before a crash is not lost with the shard's result.
"""

import logging
import threading
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LogLine:
    level: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    lines: list[LogLine] = field(default_factory=list)
    done: float = 0.0
    """Rows generated since the actor started, or the finished fraction of a training."""
    doing: str = ""


class Reporter(logging.Handler):
    """Collects an actor's log lines and progress until the driver fetches them; safe between threads."""

    def __init__(self, where: str) -> None:
        super().__init__(logging.INFO)
        self._where = where
        self._guard = threading.Lock()
        self._lines: list[LogLine] = []
        self._done = 0.0
        self._doing = ""
        logger = logging.getLogger("nightshift")
        logger.setLevel(logging.INFO)
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        with self._guard:
            self._lines.append(LogLine(record.levelno, f"{self._where} · {record.getMessage()}"))

    def progress(self, done: float, doing: str = "") -> None:
        with self._guard:
            self._done, self._doing = done, doing

    def fetch(self) -> Report:
        """The lines since the last call, and where the work stands."""
        with self._guard:
            lines, self._lines = self._lines, []
            return Report(lines=lines, done=self._done, doing=self._doing)
