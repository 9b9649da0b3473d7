"""Work that a single actor does, such as a training; a lost actor is replaced."""

import logging
from functools import partial
from typing import Any

from infra.errors import GenerationError, OutOfMemory
from infra.settings import Settings
from workers.actors.cluster import (
    actor_options,
    largest_cluster,
    pool_size,
    reserve_placement_group,
)
from workers.actors.idle_actors import IDLE_ACTORS
from workers.actors.messages import LogLine, Watcher
from workers.actors.remote_actor import (
    MAX_ATTEMPTS,
    REPORT_EVERY_S,
    ActorLost,
    RemoteActor,
    wait_for,
)
from workers.actors.room import Needs
from workers.actors.waiting import CapacityWait


def run_on_one_actor(  # noqa: PLR0913  # trainings, worker groups and preparations differ in all
    actor_class: type,
    settings: Settings,
    argument: Any,
    *,
    needs: Needs,
    label: str,
    watcher: Watcher,
    advice: str,
    num_workers: int = 1,
    is_background: bool = False,
) -> Any:
    """Creates an actor from `settings` and `argument`, and returns the result of its `work`.

    An actor that dies or stalls is replaced. With several workers, `needs` is what each of them
    takes: the actor itself takes nothing, and gets a placement group in which it starts them.

    Raises GenerationError after MAX_ATTEMPTS lost actors; OutOfMemory with `advice`; what the work
    raised; ServiceError if no node will ever hold the actor, or the nodes it waits for never come.
    """
    num_cpus, num_gpus = needs.resources["CPU"], needs.resources["GPU"]
    pool_size(settings, 1, 1, num_cpus, num_gpus)  # raises if no node can hold the actor
    IDLE_ACTORS.end_all()
    is_group = num_workers > 1
    wait = CapacityWait(
        needs, num_workers, partial(largest_cluster, settings), settings.node_wait_s, watcher
    )
    own_cpus, own_gpus = (0.0, 0.0) if is_group else (num_cpus, num_gpus)
    options = actor_options(settings, own_cpus, own_gpus, is_background=is_background)
    start = partial(RemoteActor, actor_class, options, settings, argument)
    num_lost = 0
    while True:
        if is_group:
            group = reserve_placement_group(needs, num_workers)
            actor = start(group, label=label, watcher=watcher, placement_group=group)
        else:
            actor = start(label=label, watcher=watcher)
        try:
            return _wait_for_work(actor, watcher, wait, settings.stall_timeout_s)
        except ActorLost as exc:
            if not exc.never_ran:
                num_lost += 1
            if num_lost == MAX_ATTEMPTS:
                raise GenerationError(
                    f"{label} was given up {MAX_ATTEMPTS} times; the last time it {exc}"
                ) from exc
            text = f"{actor.label} {exc}; another actor takes over"
            watcher.on_line(LogLine(logging.WARNING, text))
        except OutOfMemory as exc:
            raise OutOfMemory(f"{actor.label} {exc}. {advice}") from exc
        finally:
            actor.end()


def _wait_for_work(
    actor: RemoteActor, watcher: Watcher, wait: CapacityWait, stall_timeout_s: float
) -> Any:
    call = actor.handle.work.remote()
    finished: list[Any] = []
    while not finished:
        finished = wait_for([call], REPORT_EVERY_S)
        actor.poll_report()
        watcher.on_progress(actor.done)
        if actor.node or finished:
            wait.reset()
        else:
            wait.check(actor.label)
        if not finished and actor.is_stalled(stall_timeout_s):
            raise ActorLost(f"made no progress for {stall_timeout_s:g} s")
    actor.fetch_last_report()
    return actor.result(call)
