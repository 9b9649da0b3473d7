"""The stack's ports: the configured one if it is free, else another; the same after a restart."""

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

LOOPBACK = "127.0.0.1"
GRPC_OFFSET = 10_000
"""For each of its ports SeaweedFS also listens on the port that is this much higher."""
SOCKETS = Path("/tmp")
_TRIES = 200


class PortBook:
    """The ports of one stack, stored in `ports.json`. Each `up` makes its own instance."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[str, dict[str, int]] = {}
        with contextlib.suppress(FileNotFoundError, ValueError):
            self._entries = json.loads(path.read_text())
        self._taken: set[int] = set()

    def recorded(self, name: str) -> int | None:
        """The last port of `name`."""
        return self._entries.get(name, {}).get("port")

    def keep(self, name: str) -> int:
        """The recorded port of a process that runs on it now."""
        port = self._entries[name]["port"]
        self._taken.add(port)
        return port

    def choose(self, name: str, *, wished: int, needs_grpc: bool = False) -> int:
        """Finds and records a free port: the recorded one, the wished one, or any.

        The recorded one comes first only if it was chosen for the same wish.
        """
        for port in self._candidates(name, wished, needs_grpc=needs_grpc):
            ports = {port, port + GRPC_OFFSET} if needs_grpc else {port}
            if self._are_usable(ports):
                self._taken |= ports
                self._entries[name] = {"wished": wished, "port": port}
                self._path.write_text(json.dumps(self._entries, indent=1))
                return port
        raise OSError(f"no free port was found for {name}")

    def _are_usable(self, ports: set[int]) -> bool:
        if ports & self._taken:
            return False
        return all(is_free(port) and not has_socket(port) for port in ports)

    def _candidates(self, name: str, wished: int, *, needs_grpc: bool) -> Iterator[int]:
        entry = self._entries.get(name)
        if entry and entry["wished"] == wished:
            yield entry["port"]
        yield wished
        for _ in range(_TRIES):
            port = _any_free()
            if not needs_grpc or port + GRPC_OFFSET < 1 << 16:
                yield port


def is_free(port: int) -> bool:
    """Whether nothing listens on the port, neither on loopback nor on all interfaces."""
    for host in (LOOPBACK, ""):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


def has_socket(port: int) -> bool:
    """Whether a running SeaweedFS, or one of another user, has a Unix socket for this port.

    A new server would replace the socket, and servers of two network namespaces that share /tmp
    would talk to each other. If it may not replace the socket, it does not start. A killed server
    leaves its sockets behind: those do not count.
    """
    for path in SOCKETS.glob(f"seaweedfs-*-{port}.sock"):
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except (ConnectionRefusedError, FileNotFoundError):
                continue
            except OSError:
                pass
            return True
    return False


def is_open(port: int) -> bool:
    """Whether a process accepts connections on the loopback port."""
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1.0):
        return True
    return False


def _any_free() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]
