import socket

import pytest

from infra.local.seaweedfs import endpoint_url, has_bucket


def test_an_unknown_profile_of_the_shell_is_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    assert not has_bucket(endpoint_url(port), "key", "secret")
