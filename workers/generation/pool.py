"""The actor pool: assigns shards to actors, replaces lost actors, yields receipts as they arrive.

It uses plain actors and `ray.wait`; the driver never touches rows. The actors end with the driver's
process.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
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
from workers.actors.room import max_pending
from workers.actors.waiting import CapacityWait
from workers.generation.generate_actor import GenerateActor
from workers.generation.losses import LossCause, Losses
from workers.generation.slot import Slot
from workers.partitions.parts import Receipt
from workers.plans.plan import Plan
from workers.registry.model_files import ModelFiles

GROW_EVERY_S = 5.0
"""How often the pool checks whether the cluster has room for more actors: nodes may join."""
SHARDS_IN_HAND = 2
"""Shards assigned to one actor: while it generates one, it writes the previous or reads the next
one."""


class Pool:
    """A context manager: leaving it ends the actors, or keeps them for the run's next partition.

    A background pool pauses while ordinary actors are on the cluster or wait for it: its actors end
    after their shards, and are started again when the others are gone.
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
        """`size`: how many actors the cluster can hold; called again later, since it may grow."""
        self._settings, self._watcher = settings, watcher
        self._plan_ref, self._model_ref = ray.put(plan), ray.put(model)
        self._kind = ActorKind(plan.settings["threads"], plan.settings["num_gpus"], is_background)
        IDLE_ACTORS.end_all(but=self._kind)
        needs = actor_needs(settings, self._kind.num_cpus, self._kind.num_gpus)
        self._capacity_wait = CapacityWait(
            needs, 1, partial(largest_cluster, settings), settings.node_wait_s, watcher
        )
        self._size = size
        self._max_actors = size()
        self._slots: list[Slot] = []
        self._queue: deque[int] = deque()
        self._losses = Losses(plan.settings)
        self._is_paused = False
        self._checked_at = -REPORT_EVERY_S
        self._grown_at = time.monotonic()

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        actors = [(slot.actor, bool(slot.calls)) for slot in self._slots if slot.actor]
        names = [actor.name for actor, _ in actors]
        # After an error the cluster may be gone: do not query it.
        are_kept = kind is None and not is_wanted_by_others(names)
        for actor, is_busy in actors:
            if are_kept and not is_busy:
                IDLE_ACTORS.put(self._kind, actor)
            else:
                actor.end()

    def run(self, shards: Iterable[int]) -> Iterator[Receipt]:
        """Yields one receipt for each shard, in the order in which they are finished.

        A shard fails once it has lost MAX_ATTEMPTS actors. Raises GenerationError when all others
        are done, or at once after MAX_FAILED_SHARDS; at once what an actor itself raised, such as
        for a model that cannot be loaded; ServiceError if awaited nodes never come.
        """
        self._queue.extend(shards)
        num_left = len(self._queue)
        while num_left > len(self._losses.failed):
            self._check_once_a_second()
            if not self._is_paused:
                self._assign_shards()
                self._request_actors()
            for receipt in self._next_receipts():
                num_left -= 1
                yield receipt
        self._fetch_last_reports()
        if self._losses.failed:
            raise self._losses.error()

    def _check_once_a_second(self) -> None:
        if time.monotonic() - self._checked_at < REPORT_EVERY_S:
            return
        self._checked_at = time.monotonic()
        if self._kind.is_background:
            self._pause_or_resume()
        self._grow()
        self._poll_reports()
        timeout_s = self._settings.stall_timeout_s
        for slot in self._slots:
            if slot.calls and slot.actor and slot.actor.is_stalled(timeout_s):
                stall = ActorLost(f"made no progress for {timeout_s:g} s")
                self._give_up(slot, slot.actor, stall)

    def _pause_or_resume(self) -> None:
        was_paused, self._is_paused = self._is_paused, is_wanted_by_others()
        if self._is_paused and not was_paused:
            self._log(logging.INFO, "another run needs the cluster: actors end after their shards")
        elif was_paused and not self._is_paused:
            self._log(logging.INFO, "the cluster is free again: actors start")
        if not self._is_paused:
            return
        IDLE_ACTORS.end_all()
        for slot in self._slots:
            if not slot.shards:
                slot.clear()

    def _grow(self) -> None:
        if self._checked_at - self._grown_at < GROW_EVERY_S:
            return
        self._grown_at, before = self._checked_at, self._max_actors
        # If the only node with room has just been lost, actors wait until it is back.
        with suppress(ServiceError):
            self._max_actors = max(before, self._size())
        if self._max_actors > before:
            text = f"the cluster has grown: {self._max_actors} actors from now on"
            self._log(logging.INFO, text)

    def _poll_reports(self) -> None:
        actors = [slot.actor for slot in self._slots if slot.actor]
        for actor in actors:
            actor.poll_report()
        is_waiting = bool(actors) and not any(actor.node for actor in actors)
        if is_waiting and not self._is_paused:
            self._capacity_wait.check(actors[0].label)
        else:
            self._capacity_wait.reset()
        self._watcher.on_progress(sum(actor.done for actor in actors))

    def _fetch_last_reports(self) -> None:
        for slot in self._slots:
            if slot.actor and slot.actor.node:
                slot.actor.fetch_last_report()

    def _assign_shards(self) -> None:
        """Assigns shards to actors without any first, then a second one to actors with one."""
        num_running = self._num_running()
        for num_in_hand in range(SHARDS_IN_HAND):
            for slot in self._slots:
                if not self._queue:
                    return
                has_room = slot.actor is not None and len(slot.calls) == num_in_hand
                if has_room and self._may_take_shard(slot, num_running):
                    self._assign_next(slot)

    def _may_take_shard(self, slot: Slot, num_running: int) -> bool:
        if not slot.calls:
            return True
        if slot.is_loading:
            return False
        # A shard that has lost an actor runs alone: if that actor is lost too, this shard did it.
        if any(self._losses.is_suspect(shard) for shard in [*slot.shards, self._queue[0]]):
            return False
        # The last shards are not assigned ahead: another running actor may soon have nothing to do.
        return len(self._queue) > num_running

    def _assign_next(self, slot: Slot) -> None:
        assert slot.actor is not None
        shard = self._queue.popleft()
        if not slot.calls:
            slot.unaccounted_since = time.monotonic()
        call = slot.actor.handle.generate.remote(shard, self._losses.wasted_s(shard))
        slot.calls[call] = shard
        slot.actor.mark_alive()

    def _num_running(self) -> int:
        return sum(slot.is_running for slot in self._slots)

    def _request_actors(self) -> None:
        """Keeps actors waiting for room if shards are left: an autoscaler adds nodes for them."""
        pending = [slot for slot in self._slots if slot.actor and not slot.is_running]
        num_wanted = max_pending(len(self._queue), self._num_running())
        for slot in pending[num_wanted:]:
            slot.clear()
        for slot in islice(self._empty_slots(), max(0, num_wanted - len(pending))):
            slot.actor = self._take_actor(slot.number)
            slot.calls[slot.actor.handle.load.remote(self._plan_ref, self._model_ref)] = None

    def _empty_slots(self) -> Iterator[Slot]:
        """The slots without an actor, then new ones."""
        yield from (slot for slot in self._slots if not slot.actor)
        while len(self._slots) < self._max_actors:
            self._slots.append(Slot(len(self._slots)))
            yield self._slots[-1]

    def _take_actor(self, number: int) -> RemoteActor:
        """An idle actor if there is one, otherwise a new one."""
        idle = IDLE_ACTORS.take(self._kind)
        if idle:
            idle.watcher = self._watcher
            return idle
        options = actor_options(
            self._settings,
            self._kind.num_cpus,
            self._kind.num_gpus,
            calls_at_once=SHARDS_IN_HAND,
            is_background=self._kind.is_background,
        )
        label = f"actor {number}"
        return RemoteActor(
            GenerateActor, options, self._settings, label, label=label, watcher=self._watcher
        )

    def _next_receipts(self) -> Iterator[Receipt]:
        """The receipts of all shards that have ended by now; waits up to a second for the first."""
        slots_by_call = {call: slot for slot in self._slots for call in slot.calls}
        if not slots_by_call:
            time.sleep(REPORT_EVERY_S)  # the pool is paused
            return
        calls = list(slots_by_call)
        ready = wait_for(calls, REPORT_EVERY_S)
        if ready:
            ready = wait_for(calls, 0.0, num_returns=len(calls))
        for call in ready:
            slot = slots_by_call[call]
            # An earlier call of this loop may have ended the actor, and with it its other calls.
            receipt = self._collect(call, slot) if call in slot.calls else None
            if receipt is not None:
                yield receipt

    def _collect(self, call: Any, slot: Slot) -> Receipt | None:
        """The receipt of an ended call; None if it loaded the model or its actor was lost."""
        actor = slot.actor
        assert actor is not None
        try:
            result: Receipt | str = actor.result(call)
        except (ActorLost, OutOfMemory) as exc:
            self._give_up(slot, actor, exc)
            return None
        del slot.calls[call]
        if isinstance(result, Receipt):
            slot.unaccounted_since = time.monotonic()
            actor.mark_alive(result.input_rows)
            return result
        actor.node = result
        slot.num_failed_starts = 0
        return None

    def _give_up(self, slot: Slot, actor: RemoteActor, cause: LossCause) -> None:
        """Ends an actor; its shards return to the front of the queue, or fail."""
        shards = slot.shards
        slot.clear()
        if not shards:
            self._count_failed_start(slot, actor, cause)
            return
        wasted_s = time.monotonic() - slot.unaccounted_since
        retried = self._losses.add(shards, actor.label, cause, wasted_s)
        self._queue.extendleft(reversed(retried))
        if retried:
            numbers = " and ".join(map(str, retried))
            what = f"shard {numbers} is" if len(retried) == 1 else f"shards {numbers} are"
            text = f"{actor.label} {cause}; {what} retried on another actor"
            self._log(logging.WARNING, text)
        for shard in shards:
            if shard not in retried:
                text = f"shard {shard} failed: {self._losses.failed[shard]}"
                self._log(logging.ERROR, text)
        if self._losses.has_too_many_failures:
            raise self._losses.error()

    def _count_failed_start(self, slot: Slot, actor: RemoteActor, cause: LossCause) -> None:
        # An actor that was to start on a dead node says nothing about the model.
        has_run = isinstance(cause, OutOfMemory) or not cause.never_ran
        if has_run:
            slot.num_failed_starts += 1
        if slot.num_failed_starts == MAX_ATTEMPTS:
            raise GenerationError(
                f"{actor.label} could not load its model {MAX_ATTEMPTS} times: it {cause}"
            )
        self._log(logging.WARNING, f"{actor.label} {cause}; another actor replaces it")

    def _log(self, level: int, text: str) -> None:
        self._watcher.on_line(LogLine(level, text))
