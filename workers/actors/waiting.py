"""Waiting for room on the cluster while nobody works in it: told after a minute, and ended where
the nodes do not come.

Nodes that are there and busy are waited for as long as it takes: they belong to others, whose work
ends. Knows no Ray.
"""

import logging
import time
from collections.abc import Callable, Sequence

from workers.actors.messages import LogLine, Watcher
from workers.actors.room import Needs, Nodes, never_came

WARNED_AFTER_S = 60.0
LONGEST_BEAT_S = 5.0
"""The time between two looks counts no longer than this: a driver that was held up blames
nobody."""


class Waiting:
    """Looked at about once a second: `go_on` while nobody runs, `end` while somebody does."""

    def __init__(
        self,
        needs: Needs,
        num_at_once: int,
        largest_cluster: Callable[[], Sequence[Nodes]],
        longest_s: float,
        watcher: Watcher,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`largest_cluster`: the nodes that are there, and of each group those that may be
        added."""
        self._needs, self._num_at_once, self._largest_cluster = needs, num_at_once, largest_cluster
        self._longest_s, self._watcher, self._clock = longest_s, watcher, clock
        self.end()

    def end(self) -> None:
        self._waited_s = self._without_nodes_s = 0.0
        self._looked_at: float | None = None
        self._is_warned = False

    def go_on(self, who: str) -> None:
        """Raises ServiceError once for `longest_s` no node has been there that could hold them,
        were it idle."""
        now = self._clock()
        beat_s = 0.0 if self._looked_at is None else min(now - self._looked_at, LONGEST_BEAT_S)
        self._looked_at = now
        self._waited_s += beat_s
        cluster = self._largest_cluster()
        there = sum(nodes.room(self._needs) for nodes in cluster if not nodes.group)
        self._without_nodes_s = (
            0.0 if there >= self._num_at_once else self._without_nodes_s + beat_s
        )
        if self._without_nodes_s > self._longest_s:
            raise never_came(who, self._needs, self._num_at_once, cluster, self._longest_s)
        if self._waited_s > WARNED_AFTER_S and not self._is_warned:
            self._is_warned = True
            why = "no such node is there yet" if self._without_nodes_s else "the nodes are busy"
            text = f"{who} still waits for {self._needs.times(self._num_at_once)} on the cluster: {why}"
            self._watcher.on_line(LogLine(logging.WARNING, text))
