"""The doctor's findings while nothing is running."""

import socket
from pathlib import Path

import pytest

from infra.local.doctor import Check, diagnose
from infra.settings import Settings


def find(checks: list[Check], name: str) -> Check:
    return next(check for check in checks if check.name == name)


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def test_each_missing_part_is_named_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    checks = diagnose(Settings(stack_dir=tmp_path, storage_uri="", ray_address=None))
    for name in ("settings", "storage", "ray", "prefect"):
        check = find(checks, name)
        assert check.state == "failed"
        assert "nightshift up" in check.remedy
    assert find(checks, "device").state == "ok"


def test_servers_that_do_not_answer_are_named_by_their_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{closed_port}/api")
    settings = Settings(
        stack_dir=tmp_path, storage_uri=f"file://{tmp_path}", ray_address=f"127.0.0.1:{closed_port}"
    )
    checks = diagnose(settings)
    assert find(checks, "storage").state == "ok"
    assert str(closed_port) in find(checks, "ray").found
    assert str(closed_port) in find(checks, "prefect").found


def test_keys_of_the_shell_that_override_the_stacks_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "env").write_text("AWS_ACCESS_KEY_ID='of-the-stack'\n")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-shell")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    settings = Settings(
        stack_dir=tmp_path, storage_uri="s3://nightshift", s3_endpoint_url="http://127.0.0.1:1"
    )
    check = find(diagnose(settings), "settings")
    assert check.state == "warning"
    assert "AWS_ACCESS_KEY_ID" in check.found
