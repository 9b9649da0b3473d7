import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from infra.local.doctor import diagnose
from infra.local.prefect_server import api_url, is_healthy
from infra.settings import Settings


@pytest.fixture
def ssh_port() -> Iterator[int]:
    """A port where a program answers that is not an HTTP server."""

    def serve() -> None:
        with suppress(OSError):  # the listener was closed: the test is over
            while True:
                client, _ = listener.accept()
                with client:
                    client.recv(2**16)
                    client.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]


def test_what_does_not_speak_http_is_not_healthy(ssh_port: int) -> None:
    assert not is_healthy(api_url(ssh_port))


def test_the_doctor_names_the_address_where_another_program_answers(
    ssh_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", api_url(ssh_port))
    checks = diagnose(Settings(stack_dir=tmp_path, storage_uri="", ray_address=None))
    (check,) = [check for check in checks if check.name == "prefect"]
    assert check.state == "failed"
    assert f"{api_url(ssh_port)}: the answer is not HTTP" in check.found
