import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from infra.errors import ServiceError
from workers.actors.messages import LogLine, Watcher
from workers.actors.room import Needs, Nodes
from workers.actors.waiting import LONGEST_BEAT_S, WARNED_AFTER_S, Waiting

LONGEST_S = 600.0
ON_GPU = Needs({"CPU": 1.0, "GPU": 1.0})
HEAD = Nodes({"CPU": 3.0})
LIVE = Nodes({"CPU": 4.0, "GPU": 1.0})
PROMISED = Nodes({"CPU": 4.0, "GPU": 1.0}, count=8, group="gpu")


@dataclass
class Driver:
    """Looks once a second at a cluster of which the test says what it is."""

    cluster: list[Nodes]
    num_at_once: int = 1
    time_s: float = 0.0
    lines: list[LogLine] = field(default_factory=list)

    def __post_init__(self) -> None:
        watcher = Watcher(self.lines.append)
        self.waiting = Waiting(
            ON_GPU,
            self.num_at_once,
            lambda: self.cluster,
            LONGEST_S,
            watcher,
            clock=lambda: self.time_s,
        )

    def wait(self, seconds: float, beat_s: float = 1.0) -> None:
        end_s = self.time_s + seconds
        while self.time_s < end_s:
            self.time_s += beat_s
            self.waiting.go_on("actor 0")


def test_nodes_that_do_not_come_end_the_wait_with_what_is_there_and_what_was_promised() -> None:
    driver = Driver([HEAD, PROMISED])
    driver.wait(LONGEST_S)
    with pytest.raises(ServiceError) as ended:
        driver.wait(2)
    message = str(ended.value)
    assert "actor 0 has waited 600 s (NIGHTSHIFT_NODE_WAIT_S)" in message
    assert "needs 1 CPUs and 1 GPUs on one node; there are 1 with 3 CPUs and 0 GPUs; " in message
    assert "NIGHTSHIFT_NODE_GROUPS promises 8 more of group gpu with 4 CPUs and 1 GPUs" in message
    assert "take the group out" in message


def test_a_node_that_is_lost_and_belongs_to_no_group_is_waited_for_as_long() -> None:
    driver = Driver([HEAD])
    with pytest.raises(ServiceError, match="no more are declared"):
        driver.wait(LONGEST_S + 2)


def test_busy_nodes_are_waited_for_as_long_as_it_takes() -> None:
    driver = Driver([HEAD, LIVE, PROMISED])
    driver.wait(10 * LONGEST_S)
    (line,) = driver.lines
    assert line == LogLine(
        logging.WARNING,
        "actor 0 still waits for 1 CPUs and 1 GPUs on the cluster: the nodes are busy",
    )


def test_of_several_workers_all_must_fit_on_what_is_there() -> None:
    driver = Driver([HEAD, LIVE, PROMISED], num_at_once=2)
    with pytest.raises(
        ServiceError, match="needs 2 times at once 1 CPUs and 1 GPUs on one node; there are"
    ):
        driver.wait(LONGEST_S + 2)
    assert driver.lines[0].text.endswith("no such node is there yet")


def come_and_go(driver: Driver) -> None:
    driver.cluster.append(LIVE)
    driver.wait(1)
    driver.cluster.remove(LIVE)


@pytest.mark.parametrize("happens", [come_and_go, lambda driver: driver.waiting.end()])
def test_a_node_that_came_and_an_actor_that_ran_begin_the_wait_anew(
    happens: Callable[[Driver], None],
) -> None:
    driver = Driver([HEAD, PROMISED])
    driver.wait(LONGEST_S)
    happens(driver)
    driver.wait(LONGEST_S)
    with pytest.raises(ServiceError, match="did not come"):
        driver.wait(2)


def test_a_driver_that_was_held_up_counts_little_of_it() -> None:
    driver = Driver([HEAD, PROMISED])
    driver.wait(100 * LONGEST_S, beat_s=LONGEST_S)
    assert 100 * LONGEST_BEAT_S < LONGEST_S


def test_a_short_wait_is_not_worth_a_line_and_a_long_one_is_worth_one() -> None:
    driver = Driver([HEAD, PROMISED])
    driver.wait(WARNED_AFTER_S)
    assert driver.lines == []
    driver.wait(WARNED_AFTER_S)
    assert len(driver.lines) == 1
