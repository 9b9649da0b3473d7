"""The actor pool: hands shards to actors, replaces actors that are lost, yields receipts as they come.

Plain actors and `ray.wait`; the driver never touches rows. Everything ends with the driver's process.
"""

import logging
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import ray

from infra.errors import GenerationError, OutOfMemory
from infra.settings import Settings
from workers.cluster import actor_options, is_wanted_by_others
from workers.generate_actor import GenerateActor
from workers.part import Receipt
from workers.plan import Plan
from workers.remote_actor import MAX_ATTEMPTS, REPORT_EVERY_S, ActorLost, RemoteActor
from workers.reports import LogLine, Watcher

MAX_FAILED_SHARDS = 3
"""So many failed shards are no accident any more: the run stops at once."""


@dataclass(slots=True)
class Place:
    """One place in the pool, and the actor that fills it now with the call that it works on."""

    number: int
    actor: RemoteActor | None = None
    call: Any = None
    shard: int | None = None
    """The shard that the call is about; None while the model is loaded."""
    called_at: float = 0.0
    failed_starts: int = 0
    """Actors in a row that were lost before their model was loaded."""


class Pool:
    """Use as a context manager: leaving it ends the actors.

    A background pool steps aside while ordinary actors are on the cluster or wait for it: its actors end after their
    shards and come back when those are gone.
    """

    def __init__(
        self, settings: Settings, plan: Plan, size: int, watcher: Watcher, *, is_background: bool = False
    ) -> None:
        self._settings, self._plan, self._watcher, self._is_background = settings, plan, watcher, is_background
        self._plan_ref = ray.put(plan)
        self._places = [Place(number) for number in range(size)]
        self._queue: deque[int] = deque()
        self._losses: Counter[int] = Counter()
        self._lost_s: dict[int, float] = defaultdict(float)
        self._failed: dict[int, str] = {}
        self._is_aside = False
        self._ticked_at = -REPORT_EVERY_S

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *exc_info: object) -> None:
        for place in self._places:
            if place.actor:
                place.actor.end()

    def run(self, shards: Iterable[int]) -> Iterator[Receipt]:
        """Yields one receipt for each shard, as they end.

        A shard that loses MAX_ATTEMPTS actors has failed. Raises GenerationError once the others are done, or
        MAX_FAILED_SHARDS have failed; at once what an actor itself raised, such as a model that cannot be loaded.
        """
        self._queue.extend(shards)
        left = len(self._queue)
        while left > len(self._failed):
            self._tick()
            if not self._is_aside:
                self._hand_out()
            receipt = self._next_receipt()
            if receipt is not None:
                left -= 1
                yield receipt
        self._hear_last_words()
        if self._failed:
            raise self._failure()

    def _tick(self) -> None:
        """Once a second: steps aside or comes back, takes reports, gives up actors that do not move."""
        if time.monotonic() - self._ticked_at < REPORT_EVERY_S:
            return
        self._ticked_at = time.monotonic()
        if self._is_background:
            self._step_aside_or_back()
        self._listen()
        timeout_s = self._settings.stall_timeout_s
        for place in self._places:
            if place.call and place.actor and place.actor.is_stalled(timeout_s):
                self._give_up(place, place.actor, f"made no progress for {timeout_s:g} s")

    def _step_aside_or_back(self) -> None:
        was_aside, self._is_aside = self._is_aside, is_wanted_by_others()
        if self._is_aside and not was_aside:
            self._tell(logging.INFO, "another run needs the cluster: actors end after their shards")
        elif was_aside and not self._is_aside:
            self._tell(logging.INFO, f"the cluster is free again: {len(self._places)} actors start")
        for place in self._places:
            if self._is_aside and place.actor and place.shard is None:
                place.actor.end()
                place.actor = place.call = None

    def _listen(self) -> None:
        actors = [place.actor for place in self._places if place.actor]
        for actor in actors:
            actor.listen()
        self._watcher.on_progress(sum(actor.done for actor in actors))

    def _hear_last_words(self) -> None:
        for place in self._places:
            if place.actor and place.actor.node:
                place.actor.hear_last_words()

    def _hand_out(self) -> None:
        """Gives shards to the actors that are idle, and actors to the places that are empty."""
        for place in self._places:
            if not self._queue:
                return
            if place.actor is None:
                place.actor = self._start(place.number)
                place.call = place.actor.handle.load.remote()
            elif place.call is None:
                place.shard = self._queue.popleft()
                place.call = place.actor.handle.generate.remote(place.shard, self._lost_s[place.shard])
                place.called_at = time.monotonic()
                place.actor.stir()

    def _start(self, number: int) -> RemoteActor:
        needs = self._plan.settings
        options = actor_options(needs["threads"], needs["num_gpus"], is_background=self._is_background)
        label = f"actor {number}"
        return RemoteActor(
            GenerateActor, options, self._settings, self._plan_ref, label, label=label, watcher=self._watcher
        )

    def _next_receipt(self) -> Receipt | None:
        """The next shard's; None where a second went by, or something else came to an end."""
        at_work = {place.call: (place, place.actor) for place in self._places if place.call and place.actor}
        if not at_work:
            time.sleep(REPORT_EVERY_S)  # everybody has stepped aside
            return None
        ready, _ = ray.wait(list(at_work), timeout=REPORT_EVERY_S)
        return self._collect(*at_work[ready[0]]) if ready else None

    def _collect(self, place: Place, actor: RemoteActor) -> Receipt | None:
        try:
            answer: Receipt | str = actor.result(place.call)
        except (ActorLost, OutOfMemory) as exc:
            self._give_up(place, actor, str(exc))
            return None
        place.call = place.shard = None
        if isinstance(answer, Receipt):
            actor.stir()
            return answer
        actor.node, place.failed_starts = answer, 0
        return None

    def _give_up(self, place: Place, actor: RemoteActor, why: str) -> None:
        """Ends an actor; its shard goes back to the front of the queue, or has failed."""
        shard = place.shard
        place.actor = place.call = place.shard = None
        actor.end()
        if shard is None:
            place.failed_starts += 1
            if place.failed_starts == MAX_ATTEMPTS:
                raise GenerationError(f"{actor.label} could not load its model {MAX_ATTEMPTS} times: it {why}")
            self._tell(logging.WARNING, f"{actor.label} {why}; another one takes its place")
            return
        self._losses[shard] += 1
        self._lost_s[shard] += time.monotonic() - place.called_at
        if self._losses[shard] < MAX_ATTEMPTS:
            self._queue.appendleft(shard)
            self._tell(logging.WARNING, f"{actor.label} {why}; shard {shard} goes to another one")
            return
        self._failed[shard] = f"{actor.label} {why}"
        self._tell(logging.ERROR, f"shard {shard} failed: {self._failed[shard]}")
        if len(self._failed) == MAX_FAILED_SHARDS:
            raise self._failure()

    def _failure(self) -> GenerationError:
        causes = "; ".join(f"shard {shard}: {why}" for shard, why in sorted(self._failed.items()))
        advice = "Finished shards are kept, the next run goes on with the others"
        if "memory" in causes:
            settings = self._plan.settings
            advice += (
                f". If memory is short, lower batch_rows (now {settings['batch_rows']}) "
                f"or num_candidates (now {settings['num_candidates']})"
            )
        return GenerationError(f"{len(self._failed)} shards failed {MAX_ATTEMPTS} times. {causes}. {advice}")

    def _tell(self, level: int, text: str) -> None:
        self._watcher.on_line(LogLine(level, text))
