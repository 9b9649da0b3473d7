"""Which ports the stack listens on: the wished one where it is free, else another, remembered over
restarts."""

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

LOOPBACK = "127.0.0.1"
GRPC_OFFSET = 10_000
"""SeaweedFS also takes, for each port, the one this far above it."""
SOCKETS = Path("/tmp")
_TRIES = 200


class PortBook:
    """The ports of one stack, kept in `ports.json`; one instance for one `up`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[str, dict[str, int]] = {}
        with contextlib.suppress(FileNotFoundError, ValueError):
            self._entries = json.loads(path.read_text())
        self._taken: set[int] = set()

    def recorded(self, name: str) -> int | None:
        """The port that `name` got last."""
        return self._entries.get(name, {}).get("port")

    def keep(self, name: str) -> int:
        """The recorded port of something that is running on it now."""
        port = self._entries[name]["port"]
        self._taken.add(port)
        return port

    def choose(self, name: str, *, wished: int, needs_grpc: bool = False) -> int:
        """A free port: the recorded one if the wish is what it was, then the wished one, then any;
        records it."""
        for port in self._candidates(name, wished, needs_grpc=needs_grpc):
            ports = {port, port + GRPC_OFFSET} if needs_grpc else {port}
            if not ports & self._taken and all(
                is_free(each) and not has_socket(each) for each in ports
            ):
                self._taken |= ports
                self._entries[name] = {"wished": wished, "port": port}
                self._path.write_text(json.dumps(self._entries, indent=1))
                return port
        raise OSError(f"no free port was found for {name}")

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
    """Whether nothing listens on the port, on loopback or on every interface."""
    for host in (LOOPBACK, ""):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


def has_socket(port: int) -> bool:
    """Whether a SeaweedFS that is alive, or another user's, has one of the Unix sockets that it
    names after the port.

    It replaces what is there, and the servers of two network namespaces that share /tmp would then
    speak to each other; where it may not replace it, it does not start. One that was killed leaves
    its sockets behind.
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
    """Whether something accepts connections on the loopback port."""
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1.0):
        return True
    return False


def _any_free() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]
