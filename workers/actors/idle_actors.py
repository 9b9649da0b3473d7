"""Actors that wait for the next partition of the same run: the next date of a backfill, the next
job of a night."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from workers.actors.remote_actor import RemoteActor


@dataclass(frozen=True, slots=True)
class ActorKind:
    """What must be equal for an actor to serve another partition; its model need not be."""

    num_cpus: float
    num_gpus: float
    is_background: bool


class IdleActors:
    """Holds room on the cluster: whoever needs that for something else ends them first. Safe
    between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._actors: dict[ActorKind, list[RemoteActor]] = defaultdict(list)
        self._are_kept = False

    @contextmanager
    def kept(self) -> Iterator[None]:
        """While it is open actors outlive their pool."""
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
            waiting = self._actors[kind]
            return waiting.pop() if waiting else None

    def end_all(self, but: ActorKind | None = None) -> None:
        with self._lock:
            actors = [
                actor for kind, waiting in self._actors.items() if kind != but for actor in waiting
            ]
            for kind in self._actors.keys() - {but}:
                del self._actors[kind]
        for actor in actors:
            actor.end()


IDLE_ACTORS = IdleActors()
"""Of this process."""
