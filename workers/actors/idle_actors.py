"""Actors kept for the next partition of the same run: the next date of a backfill, the next job of
a night."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from workers.actors.remote_actor import RemoteActor


@dataclass(frozen=True, slots=True)
class ActorKind:
    """What must be equal for an actor to be reused by another partition; its model may differ."""

    num_cpus: float
    num_gpus: float
    is_background: bool


class IdleActors:
    """Keeps idle actors, which hold room on the cluster: call `end_all` before using it otherwise.

    Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._actors: dict[ActorKind, list[RemoteActor]] = defaultdict(list)
        self._are_kept = False

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Inside this context actors outlive their pool."""
        self._are_kept = True
        try:
            yield
        finally:
            self._are_kept = False
            self.end_all()

    def put(self, kind: ActorKind, actor: RemoteActor) -> None:
        with self._lock:
            if self._are_kept:
                self._actors[kind].append(actor)
                return
        actor.end()

    def take(self, kind: ActorKind) -> RemoteActor | None:
        with self._lock:
            idle = self._actors[kind]
            return idle.pop() if idle else None

    def end_all(self, but: ActorKind | None = None) -> None:
        ended: list[RemoteActor] = []
        with self._lock:
            for kind in self._actors.keys() - {but}:
                ended += self._actors.pop(kind)
        for actor in ended:
            actor.end()


IDLE_ACTORS = IdleActors()
"""This process's idle actors."""
