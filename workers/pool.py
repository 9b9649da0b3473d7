"""The actor pool: hands shards to the actors that are ready, replaces those that die, yields receipts as they come.

Plain actors and `ray.wait`; the driver never touches rows. Everything ends with the driver's process.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from infra.errors import GenerationError, NightshiftError
from infra.settings import Settings
from workers.cluster import ACTOR_ENVIRONMENT
from workers.generate_actor import GenerateActor
from workers.part import Receipt
from workers.plan import Plan
from workers.reports import LogLine, Report

REPORT_EVERY_S = 1.0
PENDING_WARNING_S = 60.0
MAX_ATTEMPTS = 3
"""Times that a shard, or a place in the pool, may lose its actor before the run gives up."""


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who wants to hear what the actors do: log lines, and rows (or a fraction) in flight."""

    on_line: Callable[[LogLine], None] = lambda line: None
    on_progress: Callable[[float], None] = lambda done: None


@dataclass(slots=True)
class Place:
    """One place in the pool and the actor that fills it now."""

    number: int
    actor: Any
    attempts: int = 1
    shard: int | None = None
    report: Any = None
    in_flight: float = 0.0
    since: float = field(default_factory=time.monotonic)


class Pool:
    """Use as a context manager: leaving it ends the actors."""

    def __init__(self, settings: Settings, plan: Plan, size: int, watcher: Watcher) -> None:
        self._settings, self._plan, self._watcher = settings, plan, watcher
        self._plan_ref = ray.put(plan)
        self._options = actor_options(plan.settings["threads"], plan.settings["num_gpus"])
        self._attempts: dict[int, int] = {}
        self._reported_at = 0.0
        self._waiting: dict[Any, Place] = {}
        self._places = [Place(number, None) for number in range(size)]

    def __enter__(self) -> "Pool":
        for place in self._places:
            self._start(place)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for place in self._places:
            ray.kill(place.actor)

    def run(self, shards: Iterable[int]) -> Iterator[Receipt]:
        """Yields one receipt for each shard, as they end. Raises GenerationError or the actor's own error."""
        queue = deque(shards)
        left = len(queue)
        idle: list[Place] = []
        while left:
            while idle and queue:
                self._assign(idle.pop(), queue.popleft())
            ready, _ = ray.wait(list(self._waiting), num_returns=1, timeout=REPORT_EVERY_S)
            for ref in ready:
                place = self._waiting.pop(ref)
                answer = self._collect(ref, place, queue)
                if answer is None:
                    continue
                idle.append(place)
                if isinstance(answer, Receipt):
                    left -= 1
                    yield answer
            self._fetch_reports()
        self._fetch_reports(wait_s=REPORT_EVERY_S)

    def _start(self, place: Place) -> None:
        place.actor = (
            ray.remote(GenerateActor)
            .options(**self._options)
            .remote(self._settings, self._plan_ref, f"actor {place.number}")
        )
        place.report, place.in_flight, place.since = None, 0.0, time.monotonic()
        self._waiting[place.actor.node.remote()] = place

    def _assign(self, place: Place, shard: int) -> None:
        place.shard = shard
        self._waiting[place.actor.generate.remote(shard)] = place

    def _collect(self, ref: Any, place: Place, queue: deque[int]) -> Receipt | str | None:
        """The receipt, or the node of an actor that became ready; None where the actor died and was replaced."""
        try:
            answer = ray.get(ref)
        except RayActorError as exc:
            self._replace(place, queue, exc)
            return None
        except RayTaskError as exc:
            self._fetch_reports(wait_s=1.0)
            raise as_nightshift_error(exc, f"shard {place.shard}") from exc
        place.shard, place.in_flight = None, 0.0
        return answer

    def _replace(self, place: Place, queue: deque[int], exc: RayActorError) -> None:
        """A new actor for the place; the shard it held goes back to the front of the queue."""
        shard, place.shard = place.shard, None
        reason = str(exc).strip().splitlines()[-1]
        attempts = place.attempts
        if shard is not None:
            attempts = self._attempts[shard] = self._attempts.get(shard, 1) + 1
            queue.appendleft(shard)
        else:
            place.attempts += 1
        what = f"actor {place.number}" + ("" if shard is None else f" with shard {shard}")
        if attempts > MAX_ATTEMPTS or (shard is None and place.attempts > MAX_ATTEMPTS):
            raise GenerationError(f"{what} died {MAX_ATTEMPTS} times; the last time: {reason}") from exc
        self._watcher.on_line(LogLine(logging.WARNING, f"{what} died and is replaced: {reason}"))
        self._start(place)

    def _fetch_reports(self, wait_s: float = 0.0) -> None:
        """At most once a second, unless it is worth waiting `wait_s` for the last words."""
        if not wait_s and time.monotonic() - self._reported_at < REPORT_EVERY_S:
            return
        self._reported_at = time.monotonic()
        for place in self._places:
            if place.report is None:
                place.report = place.actor.report.remote()
            done, _ = ray.wait([place.report], timeout=wait_s)
            if done:
                self._take_report(place)
            elif place.since and time.monotonic() - place.since > PENDING_WARNING_S:
                place.since = 0.0
                self._watcher.on_line(
                    LogLine(
                        logging.WARNING, f"actor {place.number} still waits for room on the cluster ({self._options})"
                    )
                )
        self._watcher.on_progress(sum(place.in_flight for place in self._places))

    def _take_report(self, place: Place) -> None:
        try:
            report: Report = ray.get(place.report)
        except RayActorError:
            report = Report()  # the same death comes back from the actor's own work, where it is dealt with
        place.report, place.since, place.in_flight = None, 0.0, report.done
        for line in report.lines:
            self._watcher.on_line(line)


def actor_options(num_cpus: float, num_gpus: float) -> dict[str, Any]:
    """Ray's options for an actor of ours; a second thread answers `report` while the first works."""
    return {
        "num_cpus": num_cpus,
        "num_gpus": num_gpus,
        "max_concurrency": 2,
        "max_restarts": 0,
        "runtime_env": {"env_vars": ACTOR_ENVIRONMENT},
    }


def as_nightshift_error(exc: RayTaskError, what: str) -> NightshiftError:
    """What an actor raised, as an error of ours: itself if it is one, else a GenerationError that names it."""
    cause = exc.cause
    if isinstance(cause, NightshiftError):
        return cause
    return GenerationError(f"{what} failed: {type(cause).__name__}: {cause}")
