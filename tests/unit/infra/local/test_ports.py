"""The choice of ports, with real sockets."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local import ports as local_ports
from infra.local.ports import GRPC_OFFSET, PortBook, is_free, is_open


@pytest.fixture
def taken() -> Iterator[int]:
    """A port with a listener."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def free() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def test_a_free_wished_port_is_chosen_and_recorded(tmp_path: Path, free: int) -> None:
    assert PortBook(tmp_path / "ports.json").choose("s3", wished=free) == free
    assert PortBook(tmp_path / "ports.json").recorded("s3") == free


def test_a_taken_wished_port_gives_another_that_survives_restarts(
    tmp_path: Path, taken: int
) -> None:
    port = PortBook(tmp_path / "ports.json").choose("s3", wished=taken)
    assert port != taken
    assert PortBook(tmp_path / "ports.json").choose("s3", wished=taken) == port


def test_a_new_wish_beats_the_recorded_port(tmp_path: Path, taken: int, free: int) -> None:
    PortBook(tmp_path / "ports.json").choose("s3", wished=taken)
    assert PortBook(tmp_path / "ports.json").choose("s3", wished=free) == free


def test_two_names_never_share_a_port(tmp_path: Path, free: int) -> None:
    book = PortBook(tmp_path / "ports.json")
    assert book.choose("a", wished=free) != book.choose("b", wished=free)


def test_a_port_whose_grpc_port_is_taken_is_not_chosen(tmp_path: Path, taken: int) -> None:
    if taken - GRPC_OFFSET < 1024:
        pytest.skip("the taken port is too low to be a twin")
    book = PortBook(tmp_path / "ports.json")
    assert book.choose("s3", wished=taken - GRPC_OFFSET, needs_grpc=True) != taken - GRPC_OFFSET


@pytest.mark.parametrize("is_alive", [True, False])
def test_a_port_whose_unix_socket_a_server_has_is_not_chosen(
    tmp_path: Path, free: int, monkeypatch: pytest.MonkeyPatch, is_alive: bool
) -> None:
    monkeypatch.setattr(local_ports, "SOCKETS", tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(
            str(tmp_path / f"seaweedfs-filer-{free}.sock")
        )  # the file stays after the server ends
        if is_alive:
            server.listen()
        chosen = PortBook(tmp_path / "ports.json").choose("filer", wished=free)
    assert (chosen != free) == is_alive


def test_a_damaged_port_book_is_replaced(tmp_path: Path, free: int) -> None:
    (tmp_path / "ports.json").write_text("{")
    assert PortBook(tmp_path / "ports.json").choose("s3", wished=free) == free


def test_a_free_port_is_not_open_and_an_open_port_is_not_free(taken: int, free: int) -> None:
    assert is_open(taken)
    assert not is_free(taken)
    assert is_free(free)
    assert not is_open(free)
