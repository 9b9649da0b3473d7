import pytest
from ray.exceptions import RayTaskError
from ray.train import ControllerError, TrainingFailedError

from infra.errors import InputError
from workers.actors.remote_actor import ActorLost
from workers.training.torch_trainer import blamed, first_line, origin

LOST_OTHERS = ActorLost("it has lost the others: connection closed by peer")


@pytest.mark.parametrize("place", [0, 1])
def test_what_one_worker_raised_counts_more_than_what_the_others_lost_by_it(place: int) -> None:
    raised = InputError("row 3: no name")
    assert blamed({place: raised, 1 - place: LOST_OTHERS}) is raised


def test_the_worker_that_died_is_named_not_those_that_lost_their_connection_to_it() -> None:
    found = blamed({0: LOST_OTHERS, 1: RuntimeError("the process is gone\nmore")})
    assert isinstance(found, ActorLost)
    assert str(found) == "lost worker 1: the process is gone"


def test_where_all_lost_each_other_the_first_is_named() -> None:
    assert str(blamed({0: LOST_OTHERS, 1: LOST_OTHERS})) == f"lost worker 0: {LOST_OTHERS}"


def test_what_connecting_the_workers_raised_is_told_not_what_wraps_it() -> None:
    refused = RuntimeError("Gloo connectFullMesh failed: connection refused\nmore")
    wrapped = ControllerError(RayTaskError("_setup", "Traceback: many lines", refused))
    assert first_line(origin(wrapped)) == "Gloo connectFullMesh failed: connection refused"
    assert first_line(origin(TrainingFailedError("it failed"))) == "it failed"
