"""The driver's side of an actor: its reports, its end, and for how long it has not moved.

Ray's errors end here: an actor that is gone is an ActorLost, whatever an actor raised is an error
of ours.
"""

import time
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.placement_group import PlacementGroup

from infra.errors import GenerationError, NightshiftError, OutOfMemory
from workers.actors.memory import is_out_of_memory
from workers.actors.messages import Report, Watcher
from workers.actors.waiting import LONGEST_BEAT_S

REPORT_EVERY_S = 1.0
SIGNALS_EVERY_S = 1.0
"""Ray's `get_check_signal_interval_milliseconds`."""
NODE_DIED, NEVER_RAN = "its node has died", "The actor never ran"
"""Of Ray's texts, which alone tell this."""
MAX_ATTEMPTS = 3
"""Actors that a shard, a training or a place in the pool may lose before it is given up."""


def wait_for(calls: list[Any], timeout_s: float, *, num_returns: int = 1) -> list[Any]:
    """The calls that have ended, once there are so many or the time is over, a second at the most.

    Raises what a signal's handler raised meanwhile, as itself: Ray makes a SystemError of it when
    it stops waiting. It looks for signals once a second and forgets at the second look what the
    first one found.
    """
    try:
        ended: list[Any] = ray.wait(
            calls, num_returns=num_returns, timeout=min(timeout_s, SIGNALS_EVERY_S)
        )[0]
    except SystemError as exc:
        raise exc.__cause__ or exc from None
    return ended


class ActorLost(Exception):
    """The actor died or was given up; another one can do its work."""

    def __init__(self, what: str, *, never_ran: bool = False) -> None:
        """`never_ran`: it was to start on a node that had died, which Ray notices after some
        seconds."""
        super().__init__(what)
        self.never_ran = never_ran


class RemoteActor:
    """An actor that has `report`. `label` names it in log lines, with its node once that is known
    and it runs. `room` is that of others whom it starts, given back at its end."""

    def __init__(
        self,
        actor_class: type,
        options: dict[str, Any],
        *arguments: Any,
        label: str,
        watcher: Watcher,
        room: PlacementGroup | None = None,
    ) -> None:
        self.handle: Any = ray.remote(actor_class).options(**options).remote(*arguments)
        self.done = 0.0
        self.watcher = watcher
        self._label, self._options, self._room = label, options, room
        self.node = ""
        self._doing = ""
        self._report: Any = None
        self._quiet_s = 0.0
        self._heard_at = time.monotonic()

    @property
    def name(self) -> str:
        """What Ray knows it by."""
        return str(self._options["name"])

    @property
    def label(self) -> str:
        return f"{self._label} on {self.node}" if self.node else self._label

    def is_stalled(self, timeout_s: float) -> bool:
        """Whether it runs and has not moved for so long. One that waits for room on the cluster
        does not run."""
        return bool(self.node) and self._quiet_s > timeout_s

    def stir(self, num_rows: int = 0) -> None:
        """Counts as a sign of life: it was given work, or has handed in so many rows."""
        self.done, self._quiet_s, self._heard_at = (
            max(0.0, self.done - num_rows),
            0.0,
            time.monotonic(),
        )

    def listen(self, wait_s: float = 0.0) -> None:
        """Takes the report that is there, or comes within `wait_s`, and asks for the next one."""
        now = time.monotonic()
        self._quiet_s += min(now - self._heard_at, LONGEST_BEAT_S)
        self._heard_at = now
        if self._report is None:
            self._report = self.handle.report.remote()
        if wait_for([self._report], wait_s):
            self._take_report()

    def hear_last_words(self) -> None:
        """Takes what it has to say before it is ended."""
        self.listen()  # what was asked for earlier
        self.listen(wait_s=REPORT_EVERY_S)

    def _take_report(self) -> None:
        ref, self._report = self._report, None
        try:
            report: Report = ray.get(ref)
        except RayError:
            return  # the same end comes back from the actor's own work, where it is dealt with
        if (report.done, report.doing) != (self.done, self._doing) or not self.node:
            self._quiet_s = 0.0
        self.done, self._doing, self.node = report.done, report.doing, report.node
        for line in report.lines:
            self.watcher.on_line(line)

    def result(self, ref: Any) -> Any:
        """What a call returned. Raises ActorLost, or what the call raised: itself if it is an error
        of ours.

        The texts of ActorLost and OutOfMemory say what became of the actor: they go on from its
        label.
        """
        try:
            return ray.get(ref)
        except RayTaskError as exc:
            self.hear_last_words()
            if isinstance(exc.cause, ActorLost):
                raise exc.cause from exc
            raise self._as_ours(exc) from exc
        except RayError as exc:
            if isinstance(exc, RayActorError) and exc.actor_init_failed:
                raise GenerationError(f"{self.label} cannot be started: {reason(exc)}") from exc
            never_ran = not self.node and NEVER_RAN in str(exc) and NODE_DIED in str(exc)
            raise ActorLost(f"died: {reason(exc)}", never_ran=never_ran) from exc

    def _as_ours(self, exc: RayTaskError) -> NightshiftError:
        cause = exc.cause
        if isinstance(cause, NightshiftError):
            return cause
        if is_out_of_memory(cause):
            return OutOfMemory(f"ran out of memory: {cause}")
        return GenerationError(f"{self.label} failed: {type(cause).__name__}: {cause}")

    def end(self) -> None:
        """Frees what it holds, at once; a process that is stopped and cannot answer is killed by
        Ray after 5 s."""
        ray.kill(self.handle)
        if self._room:
            ray.util.remove_placement_group(self._room)


def reason(exc: RayError) -> str:
    """One line of Ray's many, without its list of guesses, of which one matters: Linux kills for
    want of memory."""
    lines = [line.strip() for line in str(exc).strip().splitlines() if NEVER_RAN not in line]
    # such as OutOfMemoryError: Ray itself killed it before Linux did
    if not isinstance(exc, RayActorError):
        return lines[0]
    found, guesses, _ = (
        lines[-1].rpartition("Worker exit detail: ")[2].partition(" Some common causes include")
    )
    return f"{found} Perhaps Linux killed it for want of memory." if guesses else found
