"""The variables that other processes get from the stack, and its own processes do not inherit."""

import stat
from pathlib import Path

import pytest
from dotenv import dotenv_values

from infra.local.environment import (
    STORAGE_URI,
    StackKeys,
    children_environment,
    env_path,
    load_or_make_keys,
    stack_variables,
    write_env_file,
)
from infra.local.ray_head import ensure_token, ray_temp_dir
from infra.settings import Settings

PORTS = {"s3": 8333, "ray": 6379, "prefect": 4200}
KEYS = StackKeys(access_key="key", secret_key="secret")


def variables(folder: Path) -> dict[str, str]:
    return stack_variables(folder, ports=PORTS, keys=KEYS)


def test_secrets_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    write_env_file(tmp_path, variables(tmp_path))
    for path in (env_path(tmp_path), ensure_token(tmp_path / "ray_token")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_env_file_reads_back_and_keeps_the_keys(tmp_path: Path) -> None:
    write_env_file(tmp_path, variables(tmp_path))
    assert dotenv_values(env_path(tmp_path)) == variables(tmp_path)
    assert load_or_make_keys(tmp_path) == KEYS


def test_keys_of_two_stacks_differ(tmp_path: Path) -> None:
    assert load_or_make_keys(tmp_path / "a") != load_or_make_keys(tmp_path / "b")


def test_the_token_is_made_once(tmp_path: Path) -> None:
    token = ensure_token(tmp_path / "token").read_text()
    assert len(token) >= 32
    assert ensure_token(tmp_path / "token").read_text() == token


def test_inherited_addresses_do_not_reach_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "PREFECT_API_URL",
        "PREFECT_API_KEY",
        "RAY_ADDRESS",
        "AWS_ACCESS_KEY_ID",
        "AWS_PROFILE",
    ):
        monkeypatch.setenv(name, "elsewhere")
    env = children_environment(Settings(stack_dir=tmp_path), variables(tmp_path))
    assert "elsewhere" not in env.values()
    assert env["PREFECT_API_URL"] == "http://127.0.0.1:4200/api"
    assert env["AWS_ACCESS_KEY_ID"] == "key"


def test_storage_that_the_user_chose_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTSHIFT_STORAGE_URI", "s3://mine")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "my-key")
    env = children_environment(
        Settings(stack_dir=tmp_path, storage_uri="s3://mine"), variables(tmp_path)
    )
    assert env["NIGHTSHIFT_STORAGE_URI"] == "s3://mine"
    assert env["AWS_ACCESS_KEY_ID"] == "my-key"
    assert "NIGHTSHIFT_S3_ENDPOINT_URL" not in env


@pytest.mark.parametrize(
    ("endpoint", "key", "is_own"),
    [
        ("http://minio:9000", "my-key", True),
        ("http://127.0.0.1:8333", "my-key", False),
        ("http://127.0.0.1:8343", "key", False),  # the stack's own, at its previous port
    ],
)
def test_a_bucket_of_the_same_name_on_another_server_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str, key: str, is_own: bool
) -> None:
    monkeypatch.setenv("NIGHTSHIFT_S3_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    settings = Settings(stack_dir=tmp_path, storage_uri=STORAGE_URI)
    env = children_environment(settings, variables(tmp_path))
    expected = (endpoint, key) if is_own else ("http://127.0.0.1:8333", "key")
    assert (env["NIGHTSHIFT_S3_ENDPOINT_URL"], env["AWS_ACCESS_KEY_ID"]) == expected


def test_loopback_is_never_reached_through_a_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "intranet")
    monkeypatch.delenv("no_proxy", raising=False)
    env = children_environment(Settings(stack_dir=tmp_path), variables(tmp_path))
    assert env["NO_PROXY"] == "intranet,127.0.0.1,localhost"


def test_rays_folder_is_short_enough_for_sockets_in_a_deep_stack_folder() -> None:
    assert ray_temp_dir(Path("/srv/n")) == Path("/srv/n/ray").resolve()
    deep = Path("/srv") / ("deep" * 30)
    assert len(str(ray_temp_dir(deep))) < 60
    assert ray_temp_dir(deep) != ray_temp_dir(deep / "other")
