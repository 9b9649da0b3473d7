from pathlib import Path

import pytest

from infra.errors import SettingsError
from infra.settings import Settings, activate_environment, load_settings

STACK = """NIGHTSHIFT_STORAGE_URI='s3://nightshift'
NIGHTSHIFT_S3_ENDPOINT_URL='http://127.0.0.1:8333'
AWS_ACCESS_KEY_ID='of-the-stack'
PREFECT_API_URL='http://127.0.0.1:4200/api'
"""


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with a stack's `env` file; the environment is put back afterwards."""
    monkeypatch.chdir(tmp_path)
    for line in STACK.splitlines():
        monkeypatch.setenv(line.partition("=")[0], "")
        monkeypatch.delenv(line.partition("=")[0])
    monkeypatch.setenv("NIGHTSHIFT_STACK_DIR", str(tmp_path))
    (tmp_path / "env").write_text(STACK)
    load_settings.cache_clear()
    return tmp_path


def environment(*names: str) -> dict[str, str | None]:
    import os  # noqa: PLC0415  what this test is about

    return {name: os.environ.get(name) for name in names}


def test_the_stack_gives_what_is_not_set(stack: Path) -> None:
    assert load_settings().storage_uri == "s3://nightshift"
    assert environment("PREFECT_API_URL") == {"PREFECT_API_URL": "http://127.0.0.1:4200/api"}


def test_variables_that_are_set_win_over_the_stack(stack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://elsewhere/api")
    activate_environment()
    assert environment("PREFECT_API_URL") == {"PREFECT_API_URL": "http://elsewhere/api"}


def test_the_stacks_store_comes_with_the_stacks_keys(stack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-users-aws")
    activate_environment()
    assert environment("AWS_ACCESS_KEY_ID") == {"AWS_ACCESS_KEY_ID": "of-the-stack"}


def test_a_store_of_ones_own_takes_nothing_of_the_stacks(stack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_STORAGE_URI", "s3://mine")
    activate_environment()
    assert environment("AWS_ACCESS_KEY_ID", "NIGHTSHIFT_S3_ENDPOINT_URL") == {
        "AWS_ACCESS_KEY_ID": None,
        "NIGHTSHIFT_S3_ENDPOINT_URL": None,
    }


def test_a_wrong_value_names_its_variable(stack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_NUM_ACTORS", "many")
    with pytest.raises(SettingsError, match=r"NIGHTSHIFT_NUM_ACTORS: .*integer"):
        load_settings()


def test_storage_that_is_needed_and_not_set_says_how_to_get_one() -> None:
    with pytest.raises(SettingsError, match="run `nightshift up` for a local one"):
        Settings(storage_uri="").require_storage()
