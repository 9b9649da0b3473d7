"""What lost actors cost a pool: shards to retry, shards that failed, time that was wasted."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.errors import GenerationError, OutOfMemory
from workers.actors.remote_actor import MAX_ATTEMPTS, ActorLost

MAX_FAILED_SHARDS = 3
"""With this many failed shards the run stops at once: this is no accident."""
MEMORY_SETTINGS = ("batch_rows", "num_candidates")
"""The settings of a job that decide how much memory a batch takes."""

LossCause = ActorLost | OutOfMemory


@dataclass(frozen=True, slots=True)
class FailedShard:
    actor: str
    cause: LossCause

    def __str__(self) -> str:
        return f"{self.actor} {self.cause}"

    @property
    def may_lack_memory(self) -> bool:
        return isinstance(self.cause, OutOfMemory) or self.cause.may_lack_memory


class Losses:
    """Counts the actors that each shard of a plan has lost."""

    def __init__(self, plan_settings: Mapping[str, Any]) -> None:
        self._plan_settings = plan_settings
        self._num_lost: Counter[int] = Counter()
        self._wasted_s: dict[int, float] = defaultdict(float)
        self.failed: dict[int, FailedShard] = {}

    def add(
        self, shards: Sequence[int], actor: str, cause: LossCause, wasted_s: float
    ) -> list[int]:
        """Counts the loss of an actor that worked on `shards`, and returns those to retry.

        The others have failed. `wasted_s` is charged to the first shard, which was being generated.
        """
        self._wasted_s[shards[0]] += wasted_s
        self._num_lost.update(shards)
        retried = [shard for shard in shards if self._num_lost[shard] < MAX_ATTEMPTS]
        for shard in shards:
            if shard not in retried:
                self.failed[shard] = FailedShard(actor, cause)
        return retried

    def is_suspect(self, shard: int) -> bool:
        """Whether the shard has lost an actor before, and may lose the next one."""
        return self._num_lost[shard] > 0

    def wasted_s(self, shard: int) -> float:
        """What lost actors spent on the shard."""
        return self._wasted_s.get(shard, 0.0)

    @property
    def has_too_many_failures(self) -> bool:
        return len(self.failed) >= MAX_FAILED_SHARDS

    def error(self) -> GenerationError:
        causes = "; ".join(f"shard {shard}: {why}" for shard, why in sorted(self.failed.items()))
        return GenerationError(
            f"{len(self.failed)} shards failed {MAX_ATTEMPTS} times. {causes}. {self._advice()}"
        )

    def _advice(self) -> str:
        advice = "Finished shards are kept; the next run resumes with the others"
        if not any(failed.may_lack_memory for failed in self.failed.values()):
            return advice
        settings = [
            f"{name} (now {self._plan_settings[name]})"
            for name in MEMORY_SETTINGS
            if name in self._plan_settings
        ]
        return f"{advice}. If memory is short, lower {' or '.join(settings)}"
