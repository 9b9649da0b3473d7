import pytest

from infra.errors import OutOfMemory
from workers.actors.remote_actor import MAX_ATTEMPTS, ActorLost
from workers.generation.losses import MAX_FAILED_SHARDS, LossCause, Losses

SETTINGS = {"batch_rows": 8, "num_candidates": 40, "threads": 1}
STALL = ActorLost("made no progress for 600 s")
KILLED = ActorLost("died: connection error", may_lack_memory=True)
TOO_LARGE = OutOfMemory("ran out of memory with row p7 alone")


def lose(losses: Losses, shards: list[int], cause: LossCause = STALL) -> list[list[int]]:
    """The shards to retry after each of MAX_ATTEMPTS lost actors."""
    return [losses.add(shards, "actor 0", cause, 1.5) for _ in range(MAX_ATTEMPTS)]


def test_a_shard_is_retried_until_it_has_lost_three_actors() -> None:
    losses = Losses(SETTINGS)
    assert lose(losses, [4]) == [[4], [4], []]
    assert str(losses.failed[4]) == "actor 0 made no progress for 600 s"


def test_only_the_shard_that_has_lost_too_many_actors_fails() -> None:
    losses = Losses(SETTINGS)
    losses.add([4], "actor 0", STALL, 0.0)
    losses.add([4], "actor 1", STALL, 0.0)
    assert losses.add([3, 4], "actor 2", STALL, 0.0) == [3]
    assert list(losses.failed) == [4]
    assert losses.is_suspect(3)
    assert not losses.is_suspect(5)


def test_wasted_time_is_charged_to_the_shard_that_was_being_generated() -> None:
    losses = Losses(SETTINGS)
    lose(losses, [1, 2])
    assert losses.wasted_s(1) == 1.5 * MAX_ATTEMPTS
    assert losses.wasted_s(2) == losses.wasted_s(3) == 0.0


@pytest.mark.parametrize(
    ("cause", "is_advised"), [(STALL, False), (KILLED, True), (TOO_LARGE, True)]
)
def test_smaller_batches_are_advised_only_if_memory_may_have_run_out(
    cause: LossCause, is_advised: bool
) -> None:
    losses = Losses(SETTINGS)
    lose(losses, [4], cause)
    message = str(losses.error())
    assert message.startswith(f"1 shards failed 3 times. shard 4: actor 0 {cause}. Finished")
    assert ("lower batch_rows (now 8) or num_candidates (now 40)" in message) == is_advised


def test_a_few_failed_shards_are_too_many() -> None:
    losses = Losses(SETTINGS)
    for shard in range(MAX_FAILED_SHARDS):
        assert not losses.has_too_many_failures
        lose(losses, [shard])
    assert losses.has_too_many_failures
