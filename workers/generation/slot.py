"""One slot of the actor pool."""

from dataclasses import dataclass, field
from typing import Any

from workers.actors.remote_actor import RemoteActor


@dataclass(slots=True)
class Slot:
    """The actor that currently fills the slot, and the calls that it works on."""

    number: int
    actor: RemoteActor | None = None
    calls: dict[Any, int | None] = field(default_factory=dict)
    """The shard of each call, oldest first; None for the call that loads the model."""
    unaccounted_since: float = 0.0
    """Since when the actor's time is not covered by a receipt."""
    num_failed_starts: int = 0
    """Actors lost in a row before their model was loaded."""

    @property
    def shards(self) -> list[int]:
        return [shard for shard in self.calls.values() if shard is not None]

    @property
    def is_running(self) -> bool:
        """Whether its actor is known to run on a node, and does not wait for room any more."""
        return self.actor is not None and bool(self.actor.node)

    @property
    def is_loading(self) -> bool:
        return None in self.calls.values()

    def clear(self) -> None:
        """Ends its actor, if there is one."""
        if self.actor:
            self.actor.end()
        self.actor = None
        self.calls.clear()
