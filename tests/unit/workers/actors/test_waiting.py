import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from infra.errors import ServiceError
from workers.actors.messages import LogLine, Watcher
from workers.actors.room import Needs, Nodes
from workers.actors.waiting import MAX_TICK_S, WARN_AFTER_S, CapacityWait

LONGEST_S = 600.0
ON_GPU = Needs({"CPU": 1.0, "GPU": 1.0})
HEAD = Nodes({"CPU": 3.0})
LIVE = Nodes({"CPU": 4.0, "GPU": 1.0})
DECLARED = Nodes({"CPU": 4.0, "GPU": 1.0}, count=8, group="gpu")


@dataclass
class Driver:
    """Checks once a second a cluster that the test defines."""

    cluster: list[Nodes]
    num_at_once: int = 1
    time_s: float = 0.0
    lines: list[LogLine] = field(default_factory=list)

    def __post_init__(self) -> None:
        watcher = Watcher(self.lines.append)
        self.capacity_wait = CapacityWait(
            ON_GPU,
            self.num_at_once,
            lambda: self.cluster,
            LONGEST_S,
            watcher,
            clock=lambda: self.time_s,
        )

    def wait(self, seconds: float, tick_s: float = 1.0) -> None:
        end_s = self.time_s + seconds
        while self.time_s < end_s:
            self.time_s += tick_s
            self.capacity_wait.check("actor 0")


def test_the_wait_fails_if_nodes_do_not_come_and_lists_live_and_declared_nodes() -> None:
    driver = Driver([HEAD, DECLARED])
    driver.wait(LONGEST_S)
    with pytest.raises(ServiceError) as ended:
        driver.wait(2)
    message = str(ended.value)
    assert "actor 0 has waited 600 s (NIGHTSHIFT_NODE_WAIT_S)" in message
    assert "needs 1 CPUs and 1 GPUs on one node; there are 1 with 3 CPUs and 0 GPUs; " in message
    assert "NIGHTSHIFT_NODE_GROUPS declares 8 more of group gpu with 4 CPUs and 1 GPUs" in message
    assert "take the group out" in message


def test_a_lost_node_without_a_group_is_waited_for_just_as_long() -> None:
    driver = Driver([HEAD])
    with pytest.raises(ServiceError, match="no more are declared"):
        driver.wait(LONGEST_S + 2)


def test_busy_nodes_are_waited_for_as_long_as_it_takes() -> None:
    driver = Driver([HEAD, LIVE, DECLARED])
    driver.wait(10 * LONGEST_S)
    (line,) = driver.lines
    assert line == LogLine(
        logging.WARNING,
        "actor 0 still waits for 1 CPUs and 1 GPUs on the cluster: the nodes are busy",
    )


def test_all_workers_must_fit_on_the_live_nodes_at_once() -> None:
    driver = Driver([HEAD, LIVE, DECLARED], num_at_once=2)
    with pytest.raises(
        ServiceError, match="needs 2 times at once 1 CPUs and 1 GPUs on one node; there are"
    ):
        driver.wait(LONGEST_S + 2)
    assert driver.lines[0].text.endswith("no such node is there yet")


def come_and_go(driver: Driver) -> None:
    driver.cluster.append(LIVE)
    driver.wait(1)
    driver.cluster.remove(LIVE)


@pytest.mark.parametrize("happens", [come_and_go, lambda driver: driver.capacity_wait.reset()])
def test_a_node_that_came_or_an_actor_that_ran_restarts_the_wait(
    happens: Callable[[Driver], None],
) -> None:
    driver = Driver([HEAD, DECLARED])
    driver.wait(LONGEST_S)
    happens(driver)
    driver.wait(LONGEST_S)
    with pytest.raises(ServiceError, match="did not come"):
        driver.wait(2)


def test_a_driver_that_was_held_up_hardly_counts_that_time() -> None:
    driver = Driver([HEAD, DECLARED])
    driver.wait(100 * LONGEST_S, tick_s=LONGEST_S)
    assert 100 * MAX_TICK_S < LONGEST_S


def test_only_a_long_wait_is_logged_and_only_once() -> None:
    driver = Driver([HEAD, DECLARED])
    driver.wait(WARN_AFTER_S)
    assert driver.lines == []
    driver.wait(WARN_AFTER_S)
    assert len(driver.lines) == 1
