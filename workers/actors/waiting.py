"""How long a run waits for room on the cluster: logs a warning, and fails if nodes never come.

It waits without limit for nodes that exist but are busy: other work holds them, and that work ends.
Knows nothing about Ray.
"""

import logging
import time
from collections.abc import Callable, Sequence

from workers.actors.messages import LogLine, Watcher
from workers.actors.room import Needs, Nodes, nodes_never_came

WARN_AFTER_S = 60.0
MAX_TICK_S = 5.0
"""The longest time that counts between two checks: a driver that was held up must not count its own
pause."""


class CapacityWait:
    """Call about once a second: `check` while no actor runs, `reset` while one does."""

    def __init__(
        self,
        needs: Needs,
        num_at_once: int,
        largest_cluster: Callable[[], Sequence[Nodes]],
        longest_s: float,
        watcher: Watcher,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`largest_cluster`: the live nodes, and of each group those that may still be added."""
        self._needs = needs
        self._num_at_once = num_at_once
        self._largest_cluster = largest_cluster
        self._longest_s = longest_s
        self._watcher = watcher
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        self._waited_s = 0.0
        self._without_nodes_s = 0.0
        self._checked_at: float | None = None
        self._has_warned = False

    def check(self, who: str) -> None:
        """Counts the time since the last check.

        Raises ServiceError once the live nodes, even if idle, could not have held the actors for
        `longest_s`.
        """
        tick_s = self._tick_s()
        self._waited_s += tick_s
        cluster = self._largest_cluster()
        num_fitting = sum(nodes.capacity(self._needs) for nodes in cluster if not nodes.group)
        if num_fitting >= self._num_at_once:
            self._without_nodes_s = 0.0
        else:
            self._without_nodes_s += tick_s
        if self._without_nodes_s > self._longest_s:
            raise nodes_never_came(who, self._needs, self._num_at_once, cluster, self._longest_s)
        if self._waited_s > WARN_AFTER_S and not self._has_warned:
            self._has_warned = True
            self._warn(who)

    def _tick_s(self) -> float:
        now, before = self._clock(), self._checked_at
        self._checked_at = now
        return 0.0 if before is None else min(now - before, MAX_TICK_S)

    def _warn(self, who: str) -> None:
        needs = self._needs.times(self._num_at_once)
        why = "no such node is there yet" if self._without_nodes_s else "the nodes are busy"
        text = f"{who} still waits for {needs} on the cluster: {why}"
        self._watcher.on_line(LogLine(logging.WARNING, text))
