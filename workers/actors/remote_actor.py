"""The driver's side of an actor: its reports, stalls, errors and end.

Ray's errors are converted here: a lost actor becomes an ActorLost, all others a NightshiftError.
"""

import time
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError
from ray.util.placement_group import PlacementGroup

from infra.errors import GenerationError, NightshiftError, OutOfMemory
from workers.actors.memory import is_out_of_memory
from workers.actors.messages import Report, Watcher
from workers.actors.waiting import MAX_TICK_S

REPORT_EVERY_S = 1.0
SIGNALS_EVERY_S = 1.0
"""Ray's `get_check_signal_interval_milliseconds`."""
MAX_ATTEMPTS = 3
"""A shard, a training or a slot of the pool fails once it has lost this many actors."""

# Parts of Ray's messages. Ray has no types for these cases, so the text has to be searched.
NODE_DIED = "its node has died"
NEVER_RAN = "The actor never ran"
EXIT_DETAIL = "Worker exit detail: "
GUESSES = " Some common causes include"
MEMORY = "memory"


def wait_for(calls: list[Any], timeout_s: float, *, num_returns: int = 1) -> list[Any]:
    """Waits until `num_returns` calls have ended, for `timeout_s` or a second at most.

    Returns those that have. An exception of a signal handler is raised as itself.
    """
    # Ray looks for signals once per interval and forgets at the second look what the first found.
    timeout_s = min(timeout_s, SIGNALS_EVERY_S)
    try:
        ended: list[Any] = ray.wait(calls, num_returns=num_returns, timeout=timeout_s)[0]
    except SystemError as exc:  # how Ray wraps what a signal handler raised
        raise exc.__cause__ or exc from None
    return ended


class ActorLost(Exception):
    """The actor died or was given up; another one can do its work.

    The text is a predicate, to be read after the actor's label: "died: …".
    """

    def __init__(
        self, what: str, *, never_ran: bool = False, may_lack_memory: bool = False
    ) -> None:
        """`never_ran`: it was to start on a dead node, whose death Ray notices after some seconds.

        `may_lack_memory`: it was killed, perhaps because memory ran out.
        """
        super().__init__(what)
        self.never_ran = never_ran
        self.may_lack_memory = may_lack_memory


class RemoteActor:
    """An actor that has the method `report`.

    `label` names it in log lines, together with its node once it runs. `placement_group` holds the
    resources of the workers that it starts; ending the actor releases it.
    """

    def __init__(
        self,
        actor_class: type,
        options: dict[str, Any],
        *arguments: Any,
        label: str,
        watcher: Watcher,
        placement_group: PlacementGroup | None = None,
    ) -> None:
        self.handle: Any = ray.remote(actor_class).options(**options).remote(*arguments)
        self.done = 0.0
        self.node = ""
        self.watcher = watcher
        self._label = label
        self._options = options
        self._placement_group = placement_group
        self._doing = ""
        self._report: Any = None
        self._silent_s = 0.0
        self._checked_at = time.monotonic()

    @property
    def name(self) -> str:
        """Its name in Ray."""
        return str(self._options["name"])

    @property
    def label(self) -> str:
        return f"{self._label} on {self.node}" if self.node else self._label

    def is_stalled(self, timeout_s: float) -> bool:
        """Whether it has made no progress for `timeout_s`."""
        # Without a node it still waits for room on the cluster.
        return bool(self.node) and self._silent_s > timeout_s

    def mark_alive(self, num_rows: int = 0) -> None:
        """Restarts the stall timeout: it was given work, or has delivered `num_rows` rows."""
        self.done = max(0.0, self.done - num_rows)
        self._silent_s = 0.0
        self._checked_at = time.monotonic()

    def poll_report(self, wait_s: float = 0.0) -> None:
        """Asks for a report unless one is pending, and takes it if it arrives within `wait_s`."""
        now = time.monotonic()
        self._silent_s += min(now - self._checked_at, MAX_TICK_S)
        self._checked_at = now
        if self._report is None:
            self._report = self.handle.report.remote()
        if wait_for([self._report], wait_s):
            self._take_report()

    def fetch_last_report(self) -> None:
        """Takes everything that it has reported so far; call before ending it."""
        self.poll_report()  # the report that was asked for earlier
        self.poll_report(wait_s=REPORT_EVERY_S)

    def _take_report(self) -> None:
        ref, self._report = self._report, None
        try:
            report: Report = ray.get(ref)
        except RayError:
            return  # the actor's own work raises the same error, and is handled where it does
        if (report.done, report.doing) != (self.done, self._doing) or not self.node:
            self._silent_s = 0.0
        self.done = report.done
        self.node = report.node
        self._doing = report.doing
        for line in report.lines:
            self.watcher.on_line(line)

    def result(self, ref: Any) -> Any:
        """Returns what a call returned.

        Raises ActorLost if the actor is lost, otherwise what the call raised as a NightshiftError.
        The texts of ActorLost and OutOfMemory are predicates, to be read after the label.
        """
        try:
            return ray.get(ref)
        except RayTaskError as exc:
            self.fetch_last_report()
            if isinstance(exc.cause, ActorLost):
                raise exc.cause from exc
            raise self._as_nightshift_error(exc) from exc
        except RayActorError as exc:
            if exc.actor_init_failed:
                why = death_reason(exc)
                raise GenerationError(f"{self.label} cannot be started: {why}") from exc
            raise self._as_actor_lost(exc) from exc
        except RayError as exc:
            raise self._as_actor_lost(exc) from exc

    def _as_nightshift_error(self, exc: RayTaskError) -> NightshiftError:
        cause = exc.cause
        if isinstance(cause, NightshiftError):
            return cause
        if is_out_of_memory(cause):
            return OutOfMemory(f"ran out of memory: {cause}")
        return GenerationError(f"{self.label} failed: {type(cause).__name__}: {cause}")

    def _as_actor_lost(self, exc: RayError) -> ActorLost:
        text, why = str(exc), death_reason(exc)
        return ActorLost(
            f"died: {why}",
            never_ran=not self.node and NEVER_RAN in text and NODE_DIED in text,
            # Ray has a type only for actors that it kills itself, not for those that Linux kills.
            may_lack_memory=isinstance(exc, OutOfMemoryError) or MEMORY in why,
        )

    def end(self) -> None:
        """Releases its resources at once; Ray kills a process that does not answer after 5 s."""
        ray.kill(self.handle)
        if self._placement_group:
            ray.util.remove_placement_group(self._placement_group)


def death_reason(exc: RayError) -> str:
    """One line of Ray's long message.

    Of Ray's list of guesses only one matters here: Linux kills processes when memory runs out.
    """
    lines = [line.strip() for line in str(exc).strip().splitlines() if NEVER_RAN not in line]
    if not isinstance(exc, RayActorError):
        return lines[0]  # such as an OutOfMemoryError: Ray killed it before Linux did
    detail = lines[-1].rpartition(EXIT_DETAIL)[2]
    found, guesses, _ = detail.partition(GUESSES)
    if guesses:
        return f"{found} Linux may have killed it because {MEMORY} ran out."
    return found
