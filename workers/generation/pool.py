"""The actor pool: hands shards to actors, replaces actors that are lost, yields receipts as they
come.

Plain actors and `ray.wait`; the driver never touches rows. Everything ends with the driver's
process.
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

import ray

from infra.errors import GenerationError, OutOfMemory, ServiceError
from infra.settings import Settings
from workers.actors.cluster import actor_needs, actor_options, is_wanted_by_others, largest_cluster
from workers.actors.idle_actors import IDLE_ACTORS, ActorKind
from workers.actors.messages import LogLine, Watcher
from workers.actors.remote_actor import (
    MAX_ATTEMPTS,
    REPORT_EVERY_S,
    ActorLost,
    RemoteActor,
    wait_for,
)
from workers.actors.room import num_to_wait
from workers.actors.waiting import Waiting
from workers.generation.generate_actor import GenerateActor
from workers.partitions.parts import Receipt
from workers.plans.plan import Plan
from workers.registry.model_files import ModelFiles

MAX_FAILED_SHARDS = 3
"""So many failed shards are no accident any more: the run stops at once."""
GROW_EVERY_S = 5.0
"""How often the cluster is asked whether it has room for more actors: nodes may join."""
SHARDS_IN_HAND = 2
"""Shards of one actor: while it generates the rows of one, it writes the last one's or reads the
next one's."""


@dataclass(slots=True)
class Place:
    """One place in the pool, and the actor that fills it now with the calls that it works on."""

    number: int
    actor: RemoteActor | None = None
    calls: dict[Any, int | None] = field(default_factory=dict)
    """The shard of each call, the oldest first; None while the model is loaded."""
    heard_at: float = 0.0
    """When the actor last had nothing in hand that is not told by a receipt."""
    failed_starts: int = 0
    """Actors in a row that were lost before their model was loaded."""

    @property
    def shards(self) -> list[int]:
        return [shard for shard in self.calls.values() if shard is not None]

    @property
    def is_running(self) -> bool:
        """Whether it has an actor that is known to be on a node, not one that still waits for
        room."""
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


class Pool:
    """Use as a context manager: leaving it ends the actors, unless they are kept for the run's next
    partition.

    A background pool steps aside while ordinary actors are on the cluster or wait for it: its
    actors end after their shards and come back when those are gone.
    """

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        model: ModelFiles,
        size: Callable[[], int],
        watcher: Watcher,
        *,
        is_background: bool = False,
    ) -> None:
        """`size`: for how many actors there is room, or will be; asked again, and the pool grows
        with it."""
        self._settings, self._plan, self._watcher = settings, plan, watcher
        self._plan_ref, self._model_ref = ray.put(plan), ray.put(model)
        self._kind = ActorKind(plan.settings["threads"], plan.settings["num_gpus"], is_background)
        IDLE_ACTORS.end_all(but=self._kind)
        needs = actor_needs(settings, self._kind.num_cpus, self._kind.num_gpus)
        self._waiting = Waiting(
            needs, 1, partial(largest_cluster, settings), settings.node_wait_s, watcher
        )
        self._size = size
        self._most = size()
        self._places: list[Place] = []
        self._queue: deque[int] = deque()
        self._losses: Counter[int] = Counter()
        self._lost_s: dict[int, float] = {}
        self._failed: dict[int, str] = {}
        self._is_aside = False
        self._ticked_at = -REPORT_EVERY_S
        self._grown_at = time.monotonic()

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        actors = [(place.actor, bool(place.calls)) for place in self._places if place.actor]
        # After an error nothing is asked of a cluster that may be gone.
        are_kept = kind is None and not is_wanted_by_others([actor.name for actor, _ in actors])
        for actor, is_at_work in actors:
            if are_kept and not is_at_work:
                IDLE_ACTORS.put(self._kind, actor)
            else:
                actor.end()

    def run(self, shards: Iterable[int]) -> Iterator[Receipt]:
        """Yields one receipt for each shard, as they end.

        A shard that loses MAX_ATTEMPTS actors has failed. Raises GenerationError once the others
        are done, or MAX_FAILED_SHARDS have failed; at once what an actor itself raised, such as a
        model that cannot be loaded; ServiceError where the nodes that it waits for do not come.
        """
        self._queue.extend(shards)
        left = len(self._queue)
        while left > len(self._failed):
            self._tick()
            if not self._is_aside:
                self._hand_out()
            for receipt in self._next_receipts():
                left -= 1
                yield receipt
        self._hear_last_words()
        if self._failed:
            raise self._failure()

    def _tick(self) -> None:
        """Once a second: steps aside or comes back, grows, takes reports, gives up actors that do
        not move."""
        if time.monotonic() - self._ticked_at < REPORT_EVERY_S:
            return
        self._ticked_at = time.monotonic()
        if self._kind.is_background:
            self._step_aside_or_back()
        self._grow()
        self._listen()
        timeout_s = self._settings.stall_timeout_s
        for place in self._places:
            if place.calls and place.actor and place.actor.is_stalled(timeout_s):
                self._give_up(place, place.actor, f"made no progress for {timeout_s:g} s")

    def _step_aside_or_back(self) -> None:
        was_aside, self._is_aside = self._is_aside, is_wanted_by_others()
        if self._is_aside and not was_aside:
            self._tell(logging.INFO, "another run needs the cluster: actors end after their shards")
        elif was_aside and not self._is_aside:
            self._tell(logging.INFO, "the cluster is free again: actors start")
        if self._is_aside:
            IDLE_ACTORS.end_all()
        for place in self._places:
            if self._is_aside and not place.shards:
                place.clear()

    def _grow(self) -> None:
        if self._ticked_at - self._grown_at < GROW_EVERY_S:
            return
        self._grown_at, before = self._ticked_at, self._most
        # the node with all the room has just been lost: actors wait until it is back
        with suppress(ServiceError):
            self._most = max(before, self._size())
        if self._most > before:
            self._tell(logging.INFO, f"the cluster has grown: {self._most} actors from now on")

    def _listen(self) -> None:
        actors = [place.actor for place in self._places if place.actor]
        for actor in actors:
            actor.listen()
        if self._is_aside or not actors or any(actor.node for actor in actors):
            self._waiting.end()
        else:
            self._waiting.go_on(actors[0].label)
        self._watcher.on_progress(sum(actor.done for actor in actors))

    def _hear_last_words(self) -> None:
        for place in self._places:
            if place.actor and place.actor.node:
                place.actor.hear_last_words()

    def _hand_out(self) -> None:
        """Gives shards to the actors that have none, then to the others; asks for more actors where
        shards are left."""
        num_running = sum(place.is_running for place in self._places)
        for num_in_hand in range(SHARDS_IN_HAND):
            for place in self._places:
                if not self._queue:
                    break
                if (
                    place.actor
                    and len(place.calls) == num_in_hand
                    and self._may_hand_out(place, num_running)
                ):
                    self._give_shard(place, place.actor)
        self._ask_for_room(num_running)

    def _ask_for_room(self, num_running: int) -> None:
        """Lets actors wait for room: for them an autoscaler adds nodes."""
        waiting = [place for place in self._places if place.actor and not place.is_running]
        wanted = num_to_wait(len(self._queue), num_running)
        for place in waiting[wanted:]:
            place.clear()
        for place in islice(self._empty_places(), max(0, wanted - len(waiting))):
            place.actor = self._start(place.number)
            place.calls[place.actor.handle.load.remote(self._plan_ref, self._model_ref)] = None

    def _empty_places(self) -> Iterator[Place]:
        """Those without an actor, then further ones."""
        yield from (place for place in self._places if not place.actor)
        while len(self._places) < self._most:
            self._places.append(Place(len(self._places)))
            yield self._places[-1]

    def _may_hand_out(self, place: Place, num_running: int) -> bool:
        """Whether the actor may have one more shard.

        One that has already lost an actor is worked on alone, so that it is known which one is to
        blame; and the last shards are not handed out ahead, while other actors that run may have
        nothing to do.
        """
        if not place.calls:
            return True
        is_suspect = any(self._losses[shard] for shard in [*place.shards, self._queue[0]])
        return not place.is_loading and not is_suspect and len(self._queue) > num_running

    def _give_shard(self, place: Place, actor: RemoteActor) -> None:
        shard = self._queue.popleft()
        if not place.calls:
            place.heard_at = time.monotonic()
        place.calls[actor.handle.generate.remote(shard, self._lost_s.get(shard, 0.0))] = shard
        actor.stir()

    def _start(self, number: int) -> RemoteActor:
        waiting = IDLE_ACTORS.take(self._kind)
        if waiting:
            waiting.watcher = self._watcher
            return waiting
        kind = self._kind
        options = actor_options(
            self._settings,
            kind.num_cpus,
            kind.num_gpus,
            calls_at_once=SHARDS_IN_HAND,
            is_background=kind.is_background,
        )
        label = f"actor {number}"
        return RemoteActor(
            GenerateActor, options, self._settings, label, label=label, watcher=self._watcher
        )

    def _next_receipts(self) -> Iterator[Receipt]:
        """Of all shards that have ended; none where a second went by, or something else came to an
        end."""
        at_work = {
            call: (place, place.actor)
            for place in self._places
            for call in place.calls
            if place.actor
        }
        if not at_work:
            time.sleep(REPORT_EVERY_S)  # everybody has stepped aside
            return
        calls = list(at_work)
        ready = wait_for(calls, REPORT_EVERY_S)
        if ready:
            ready = wait_for(calls, 0.0, num_returns=len(calls))
        for call in ready:
            place, actor = at_work[call]
            receipt = self._collect(call, place, actor) if call in place.calls else None
            if receipt is not None:
                yield receipt

    def _collect(self, call: Any, place: Place, actor: RemoteActor) -> Receipt | None:
        try:
            answer: Receipt | str = actor.result(call)
        except (ActorLost, OutOfMemory) as exc:
            self._give_up(
                place, actor, str(exc), never_ran=isinstance(exc, ActorLost) and exc.never_ran
            )
            return None
        del place.calls[call]
        if isinstance(answer, Receipt):
            place.heard_at = time.monotonic()
            actor.stir(answer.input_rows)
            return answer
        actor.node, place.failed_starts = answer, 0
        return None

    def _give_up(
        self, place: Place, actor: RemoteActor, why: str, *, never_ran: bool = False
    ) -> None:
        """Ends an actor; its shards go back to the front of the queue, or have failed."""
        shards = place.shards
        place.clear()
        if not shards:
            place.failed_starts += not never_ran
            if place.failed_starts == MAX_ATTEMPTS:
                raise GenerationError(
                    f"{actor.label} could not load its model {MAX_ATTEMPTS} times: it {why}"
                )
            self._tell(logging.WARNING, f"{actor.label} {why}; another one takes its place")
            return
        self._lost_s[shards[0]] = (
            self._lost_s.get(shards[0], 0.0) + time.monotonic() - place.heard_at
        )
        self._losses.update(shards)
        again = [shard for shard in shards if self._losses[shard] < MAX_ATTEMPTS]
        self._queue.extendleft(reversed(again))
        if again:
            which = (
                f"shard {again[0]} goes"
                if len(again) == 1
                else f"shards {again[0]} and {again[1]} go"
            )
            self._tell(logging.WARNING, f"{actor.label} {why}; {which} to another one")
        for shard in set(shards).difference(again):
            self._failed[shard] = f"{actor.label} {why}"
            self._tell(logging.ERROR, f"shard {shard} failed: {self._failed[shard]}")
        if len(self._failed) >= MAX_FAILED_SHARDS:
            raise self._failure()

    def _failure(self) -> GenerationError:
        causes = "; ".join(f"shard {shard}: {why}" for shard, why in sorted(self._failed.items()))
        advice = "Finished shards are kept, the next run goes on with the others"
        if "memory" in causes:
            settings = self._plan.settings
            sizes = [
                f"{name} (now {settings[name]})"
                for name in ("batch_rows", "num_candidates")
                if name in settings
            ]
            advice += f". If memory is short, lower {' or '.join(sizes)}"
        return GenerationError(
            f"{len(self._failed)} shards failed {MAX_ATTEMPTS} times. {causes}. {advice}"
        )

    def _tell(self, level: int, text: str) -> None:
        self._watcher.on_line(LogLine(level, text))
