"""Work that one actor does alone, such as a training: an actor that is lost on the way is replaced."""

import logging
from typing import Any

from infra.errors import GenerationError, OutOfMemory
from infra.settings import Settings
from workers.cluster import actor_options, pool_size
from workers.idle_actors import IDLE_ACTORS
from workers.remote_actor import MAX_ATTEMPTS, REPORT_EVERY_S, ActorLost, RemoteActor, wait_for
from workers.reports import LogLine, Watcher


def run_on_one_actor(
    actor_class: type,
    settings: Settings,
    argument: Any,
    *,
    num_cpus: float,
    num_gpus: float,
    label: str,
    watcher: Watcher,
    advice: str,
) -> Any:
    """What the `work` of one actor, made of `settings` and `argument`, returns. One that dies, or does not move, is
    replaced.

    Raises GenerationError after MAX_ATTEMPTS actors, OutOfMemory with `advice`, what the work raised, or at once
    ServiceError where no node will ever hold the actor.
    """
    if num_cpus or num_gpus:
        pool_size(settings, 1, 1, num_cpus, num_gpus)
    IDLE_ACTORS.end_all()
    options = actor_options(settings, num_cpus, num_gpus)
    attempts = 0
    while True:
        actor = RemoteActor(actor_class, options, settings, argument, label=label, watcher=watcher)
        try:
            return _wait_for_work(actor, watcher, settings.stall_timeout_s)
        except ActorLost as exc:
            attempts += not exc.never_ran
            if attempts == MAX_ATTEMPTS:
                raise GenerationError(f"{label} was given up {MAX_ATTEMPTS} times; the last time it {exc}") from exc
            text = f"{actor.label} {exc}; another actor goes on from what is there"
            watcher.on_line(LogLine(logging.WARNING, text))
        except OutOfMemory as exc:
            raise OutOfMemory(f"{actor.label} {exc}. {advice}") from exc
        finally:
            actor.end()


def _wait_for_work(actor: RemoteActor, watcher: Watcher, stall_timeout_s: float) -> Any:
    call = actor.handle.work.remote()
    finished: list[Any] = []
    while not finished:
        finished = wait_for([call], REPORT_EVERY_S)
        actor.listen()
        actor.tell_if_waiting()
        watcher.on_progress(actor.done)
        if not finished and actor.is_stalled(stall_timeout_s):
            raise ActorLost(f"made no progress for {stall_timeout_s:g} s")
    actor.hear_last_words()
    return actor.result(call)
