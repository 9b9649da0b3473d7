import pytest
from ray.exceptions import RayTaskError
from ray.train import ControllerError, TrainingFailedError

from infra.errors import InputError
from workers.actors.remote_actor import ActorLost
from workers.training.torch_trainer import first_line, root_failure, unwrap

LOST_OTHERS = ActorLost("it has lost the others: connection closed by peer")


@pytest.mark.parametrize("place", [0, 1])
def test_an_error_of_ours_is_the_root_failure_not_the_lost_connections(place: int) -> None:
    raised = InputError("row 3: no name")
    assert root_failure({place: raised, 1 - place: LOST_OTHERS}) is raised


def test_the_worker_that_died_is_named_not_those_that_lost_their_connection() -> None:
    found = root_failure({0: LOST_OTHERS, 1: RuntimeError("the process is gone\nmore")})
    assert isinstance(found, ActorLost)
    assert str(found) == "lost worker 1: the process is gone"


def test_if_all_workers_lost_each_other_the_first_is_named() -> None:
    assert str(root_failure({0: LOST_OTHERS, 1: LOST_OTHERS})) == f"lost worker 0: {LOST_OTHERS}"


def test_the_error_of_connecting_the_workers_is_unwrapped() -> None:
    refused = RuntimeError("Gloo connectFullMesh failed: connection refused\nmore")
    wrapped = ControllerError(RayTaskError("_setup", "Traceback: many lines", refused))
    assert first_line(unwrap(wrapped)) == "Gloo connectFullMesh failed: connection refused"
    assert first_line(unwrap(TrainingFailedError("it failed"))) == "it failed"
