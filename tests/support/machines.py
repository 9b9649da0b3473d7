"""Simulated machines: Linux namespaces with their own network, processes, host name and /tmp,
joined by a bridge.

They show what several Ray nodes on one machine cannot: addresses other than loopback, missing
files, and a machine that falls silent without closing its connections. Needs root and the commands
of util-linux and iproute2.
"""

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.conftest import REPO_ROOT
from tests.support.night import Night, wait_until
from tests.support.processes import is_actor
from tests.support.victims import kill_all

CLONE_NEWNET = 0x40000000
HEAD = "10.77.0.1"
BRIDGE = "lan"
BEGIN = f"""
set -e
mount --bind {REPO_ROOT} /mnt
mount -t tmpfs tmpfs /tmp
mkdir -p {REPO_ROOT}
mount --bind /mnt {REPO_ROOT}
umount /mnt
exec sleep infinity
"""
"""What a machine's first process runs: it hides this machine's /tmp, except the repository."""


@dataclass(frozen=True, slots=True)
class Machine:
    address: str
    first: psutil.Process
    """The machine's process 1: all its processes end with it."""

    def command(self, *words: str) -> list[str]:
        """The command that runs `words` on the machine."""
        return [
            "nsenter",
            f"--target={self.first.pid}",
            "--net",
            "--mount",
            "--pid",
            "--uts",
            *words,
        ]

    @contextmanager
    def joined(self, night: Night) -> Iterator[None]:
        """Makes it a node of the night's Ray cluster, which leaves at the end if it is still on.

        It has two CPUs and two units of the resource "machine", which the head lacks.
        """
        address, port = HEAD, night.variables["NIGHTSHIFT_RAY_ADDRESS"].rpartition(":")[2]
        token = Path(night.variables["RAY_AUTH_TOKEN_PATH"]).read_text()
        log = night.folder / f"{self.address}.log"
        ray = [
            str(Path(sys.executable).parent / "ray"),
            "start",
            "--block",
            f"--address={address}:{port}",
        ]
        resources = ["--num-cpus=2", """--resources={"machine": 2}"""]
        limits = ["--object-store-memory=100000000", "--min-worker-port=0", "--max-worker-port=0"]
        with log.open("wb") as file:
            node = psutil.Popen(
                self.command(*ray, *resources, *limits, "--disable-usage-stats"),
                env=night.environment | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        try:
            wait_until(
                lambda: "Ray runtime started" in log.read_text(), f"the node on {self.address}"
            )
            yield
        finally:
            for process in node.children():  # `nsenter` waits for it
                process.terminate()
            node.wait()

    def runs(self, actor: str) -> bool:
        """Whether a process of this actor runs on the machine."""
        here = _network_of(self.first)
        for process in psutil.process_iter():
            with suppress(OSError):  # it has just ended
                if is_actor(process, actor) and _network_of(process) == here:
                    return True
        return False

    def power_off(self) -> None:
        """Kills all its processes silently: its cable is pulled first, so no connection closes."""
        _in_network_of(self.first, "ip", "link", "set", "eth0", "down")
        kill_all([self.first])


@dataclass(frozen=True, slots=True)
class Network:
    """`head` owns the bridge and shares this machine's files: the tests run there."""

    head: psutil.Process

    @contextmanager
    def machine(self, number: int) -> Iterator[Machine]:
        """A machine with the address 10.77.0.NUMBER; as on many, its host name resolves to
        loopback."""
        address, cable = f"10.77.0.{number}", f"cable{number}"
        with _namespaces(
            "--net", "--mount", "--pid", "--mount-proc", "--uts", "--", "sh", "-c", BEGIN
        ) as first:
            ends = ("type", "veth", "peer", "name", "eth0", "netns", str(first.pid))
            _in_network_of(self.head, "ip", "link", "add", cable, *ends)
            _in_network_of(self.head, "ip", "link", "set", cable, "master", BRIDGE, "up")
            _give_address(first, "eth0", address)
            yield Machine(address, first)


@contextmanager
def running_network() -> Iterator[Network]:
    """Moves this thread, and what it starts, to the network's head; skips if that is forbidden."""
    if sys.platform != "linux" or shutil.which("unshare") is None or not _may_make_machines():
        pytest.skip(
            "needs Linux, root, iproute2 and the right to make namespaces, bridges and mounts"
        )
    with (
        Path("/proc/thread-self/ns/net").open() as here,
        _namespaces("--net", "--", "sleep", "infinity") as head,
        Path(f"/proc/{head.pid}/ns/net").open() as there,
    ):
        _in_network_of(head, "ip", "link", "add", BRIDGE, "type", "bridge")
        _give_address(head, BRIDGE, HEAD)
        _enter(there.fileno())
        try:
            yield Network(head)
        finally:
            _enter(here.fileno())


def _may_make_machines() -> bool:
    script = (
        "ip link add lan type bridge && ip link add cable type veth peer name eth0 "
        "&& mount -t tmpfs tmpfs /tmp"
    )
    attempt = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--uts", "--fork", "sh", "-c", script],
        capture_output=True,
        check=False,
    )
    return attempt.returncode == 0


@contextmanager
def _namespaces(*options: str) -> Iterator[psutil.Process]:
    """The first process in new namespaces, which end with it."""
    leader = psutil.Popen(["unshare", "--fork", "--kill-child", *options], stdin=subprocess.DEVNULL)
    try:
        yield wait_until(lambda: next(iter(leader.children()), None), "the first process")
    finally:
        leader.kill()
        leader.wait()


def _give_address(process: psutil.Process, device: str, address: str) -> None:
    _in_network_of(process, "ip", "link", "set", "lo", "up")
    _in_network_of(process, "ip", "address", "add", f"{address}/24", "dev", device)
    _in_network_of(process, "ip", "link", "set", device, "up")
    # Ray finds its own address by looking up a route.
    _in_network_of(process, "ip", "route", "add", "default", "via", HEAD)


def _network_of(process: psutil.Process) -> Path:
    return Path(f"/proc/{process.pid}/ns/net").readlink()


def _in_network_of(process: psutil.Process, *words: str) -> None:
    subprocess.run(["nsenter", f"--net=/proc/{process.pid}/ns/net", *words], check=True)


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
