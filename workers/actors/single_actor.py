"""Work that one actor does alone, such as a training: an actor that is lost on the way is
replaced."""

import logging
from functools import partial
from typing import Any

from infra.errors import GenerationError, OutOfMemory
from infra.settings import Settings
from workers.actors.cluster import actor_options, largest_cluster, pool_size, reserve_room
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
from workers.actors.waiting import Waiting


def run_on_one_actor(  # noqa: PLR0913  # all of it differs between a training, a group of workers and a preparation
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
    """What the `work` of one actor, made of `settings` and `argument`, returns. One that dies, or
    does not move, is replaced.

    Of several workers `needs` is what each takes: the actor that starts them takes nothing itself,
    and is made of their room, too, which is held for it. Raises GenerationError after MAX_ATTEMPTS
    actors, OutOfMemory with `advice`, what the work raised, or ServiceError: at once where no node
    will ever hold the actor, later where nodes that would do not come.
    """
    num_cpus, num_gpus = needs.resources["CPU"], needs.resources["GPU"]
    pool_size(settings, 1, 1, num_cpus, num_gpus)
    IDLE_ACTORS.end_all()
    waiting = Waiting(
        needs, num_workers, partial(largest_cluster, settings), settings.node_wait_s, watcher
    )
    own = (num_cpus, num_gpus) if num_workers == 1 else (0, 0.0)
    options = actor_options(settings, *own, is_background=is_background)
    attempts = 0
    while True:
        room = reserve_room(needs, num_workers) if num_workers > 1 else None
        arguments = [settings, argument, *([room] if room else [])]
        actor = RemoteActor(
            actor_class, options, *arguments, label=label, watcher=watcher, room=room
        )
        try:
            return _wait_for_work(actor, watcher, waiting, settings.stall_timeout_s)
        except ActorLost as exc:
            attempts += not exc.never_ran
            if attempts == MAX_ATTEMPTS:
                raise GenerationError(
                    f"{label} was given up {MAX_ATTEMPTS} times; the last time it {exc}"
                ) from exc
            text = f"{actor.label} {exc}; another actor goes on from what is there"
            watcher.on_line(LogLine(logging.WARNING, text))
        except OutOfMemory as exc:
            raise OutOfMemory(f"{actor.label} {exc}. {advice}") from exc
        finally:
            actor.end()


def _wait_for_work(
    actor: RemoteActor, watcher: Watcher, waiting: Waiting, stall_timeout_s: float
) -> Any:
    call = actor.handle.work.remote()
    finished: list[Any] = []
    while not finished:
        finished = wait_for([call], REPORT_EVERY_S)
        actor.listen()
        watcher.on_progress(actor.done)
        if actor.node or finished:
            waiting.end()
        else:
            waiting.go_on(actor.label)
        if not finished and actor.is_stalled(stall_timeout_s):
            raise ActorLost(f"made no progress for {stall_timeout_s:g} s")
    actor.hear_last_words()
    return actor.result(call)
