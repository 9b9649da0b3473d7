"""What can be killed during a night, and how to kill it at a random moment."""

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.local import supervised
from infra.local.stack import status
from tests.support.night import Night, find_actor, wait_until
from tests.support.processes import descendants, raylet_below

Run = subprocess.Popen[str]
Strike = Callable[[Run], bool]
"""Kills the victim during the run; returns False if the run had already ended."""
AFTER_START = 0.35
"""The share of a run's time that has passed when the flow begins."""


@dataclass(frozen=True, slots=True)
class Scene:
    night: Night
    random: random.Random
    seconds: float
    """How long an undisturbed run takes."""

    def wait_for_moment(self, run: Run, *, since: float = 0.0) -> bool:
        """Waits for a random moment of the run after its first share `since`.

        Returns False if the run ended before.
        """
        try:
            run.wait(self.random.uniform(0, (1 - since) * self.seconds))
        except subprocess.TimeoutExpired:
            return True
        return False

    def process(self, name: str) -> psutil.Process:
        return psutil.Process(
            next(one.pid for one in status(self.night.stack).processes if one.name == name)
        )


@contextmanager
def flow(scene: Scene) -> Iterator[Strike]:
    def strike(run: Run) -> bool:
        is_hit = scene.wait_for_moment(run)
        run.kill()
        return is_hit

    yield strike


@contextmanager
def actor(scene: Scene) -> Iterator[Strike]:
    def strike(run: Run) -> bool:
        wait_until(
            lambda: find_actor(scene.night, "GenerateActor") or run.poll() is not None, "an actor"
        )
        is_hit = scene.wait_for_moment(run, since=AFTER_START)
        found = find_actor(scene.night, "GenerateActor")
        if is_hit and found:
            kill_all([found])
        return is_hit and found is not None

    yield strike


@contextmanager
def head_raylet(scene: Scene) -> Iterator[Strike]:
    def strike(run: Run) -> bool:
        is_hit = scene.wait_for_moment(run)
        if is_hit:
            kill_all([raylet_below(scene.process("ray"))])
        return is_hit

    yield strike
    scene.night.run("up")


@contextmanager
def other_node(scene: Scene) -> Iterator[Strike]:
    """The raylet of a second node, on which some of the actors run."""
    variables = scene.night.variables
    command = [
        str(Path(sys.executable).parent / "ray"),
        "start",
        f"--address={variables['NIGHTSHIFT_RAY_ADDRESS']}",
    ]
    limits = [
        "--num-cpus=2",
        "--object-store-memory=100000000",
        "--min-worker-port=0",
        "--max-worker-port=0",
    ]
    log = scene.night.folder / "node.log"
    with log.open("wb") as file:
        node = subprocess.Popen(
            [*command, *limits, "--block", "--disable-usage-stats"],
            env=scene.night.environment | variables,
            stdout=file,
            stderr=file,
        )
    family = psutil.Process(node.pid)
    try:
        wait_until(
            lambda: "Ray runtime started" in log.read_text() or node.poll() is not None,
            "the second node",
        )
        raylet = raylet_below(family)

        def strike(run: Run) -> bool:
            is_hit = scene.wait_for_moment(run, since=AFTER_START)
            if is_hit:
                kill_all([raylet])
            return is_hit

        yield strike
    finally:
        kill_all([*descendants(family), family])
        node.wait()


def server(name: str, *, comes_back: bool) -> Callable[[Scene], AbstractContextManager[Strike]]:
    """A server of the stack; it is restarted at once, or only when the run has ended."""

    @contextmanager
    def victim(scene: Scene) -> Iterator[Strike]:
        def strike(run: Run) -> bool:
            is_hit = scene.wait_for_moment(run)
            if is_hit:
                leader = scene.process(name)
                kill_all([leader, *descendants(leader)])
                if comes_back:
                    scene.night.run("up")
            return is_hit

        yield strike
        scene.night.run("up")

    return victim


def kill_all(processes: list[psutil.Process]) -> None:
    for process in processes:
        # it may have just ended, perhaps because another one was killed
        with suppress(psutil.NoSuchProcess):
            process.kill()
    wait_until(lambda: not any(map(supervised.is_alive, processes)), "the end of what was killed")


VICTIMS: dict[str, Callable[[Scene], AbstractContextManager[Strike]]] = {
    "flow process": flow,
    "actor": actor,
    "raylet of another node": other_node,
    "raylet of the head": head_raylet,
    "Prefect server, back at once": server("prefect-server", comes_back=True),
    "Prefect server, away": server("prefect-server", comes_back=False),
    "S3 server, back at once": server("seaweedfs", comes_back=True),
    "S3 server, away": server("seaweedfs", comes_back=False),
}
SHARES = {
    "flow process": 14,
    "actor": 14,
    "raylet of another node": 7,
    "raylet of the head": 6,
    "Prefect server, back at once": 4,
    "Prefect server, away": 1,
    "S3 server, back at once": 5,
    "S3 server, away": 1,
}
"""How often each is killed: less often if it takes long to restart."""
