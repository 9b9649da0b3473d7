import json
from pathlib import Path

import pytest

from infra.errors import SettingsError
from infra.local import ray_head, seaweedfs
from infra.local.ports import GRPC_OFFSET
from infra.settings import (
    NodeGroup,
    Settings,
    activate_environment,
    child_environment,
    load_settings,
    use_interface,
)

STACK = """NIGHTSHIFT_STORAGE_URI='s3://nightshift'
NIGHTSHIFT_S3_ENDPOINT_URL='http://127.0.0.1:8333'
AWS_ACCESS_KEY_ID='of-the-stack'
PREFECT_API_URL='http://127.0.0.1:4200/api'
"""


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with a stack's `env` file; restores the environment afterwards."""
    monkeypatch.chdir(tmp_path)
    for line in STACK.splitlines():
        monkeypatch.setenv(line.partition("=")[0], "")
        monkeypatch.delenv(line.partition("=")[0])
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NIGHTSHIFT_STACK_DIR", str(tmp_path))
    (tmp_path / "env").write_text(STACK)
    load_settings.cache_clear()
    return tmp_path


def environment(*names: str) -> dict[str, str | None]:
    import os  # noqa: PLC0415  the subject of this test

    return {name: os.environ.get(name) for name in names}


def test_the_stack_provides_unset_variables(stack: Path) -> None:
    assert load_settings().storage_uri == "s3://nightshift"
    assert environment("PREFECT_API_URL") == {"PREFECT_API_URL": "http://127.0.0.1:4200/api"}


def test_variables_that_are_set_override_the_stack(
    stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://elsewhere/api")
    activate_environment()
    assert environment("PREFECT_API_URL") == {"PREFECT_API_URL": "http://elsewhere/api"}


def test_the_stacks_store_comes_with_the_stacks_keys(
    stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-users-aws")
    activate_environment()
    assert environment("AWS_ACCESS_KEY_ID") == {"AWS_ACCESS_KEY_ID": "of-the-stack"}


def test_another_store_gets_no_variable_of_the_stack(
    stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_resources_labels_and_node_groups_are_given_as_json(
    stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTSHIFT_ACTOR_RESOURCES", '{"fast_disk": 1}')
    monkeypatch.setenv("NIGHTSHIFT_ACTOR_LABELS", '{"zone": "eu-1a"}')
    group = {"name": "gpu", "max_nodes": 8, "resources": {"CPU": 4, "GPU": 1}}
    monkeypatch.setenv("NIGHTSHIFT_NODE_GROUPS", json.dumps([group]))
    settings = load_settings()
    assert settings.actor_resources == {"fast_disk": 1.0}
    assert settings.actor_labels == {"zone": "eu-1a"}
    assert settings.node_groups == (
        NodeGroup(name="gpu", max_nodes=8, resources={"CPU": 4, "GPU": 1}),
    )


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("ACTOR_RESOURCES", "fast_disk=1", "NIGHTSHIFT_ACTOR_RESOURCES: .*Expecting value"),
        (
            "ACTOR_RESOURCES",
            '{"GPU": 1}',
            "NIGHTSHIFT_ACTOR_RESOURCES: .*GPU is not a custom resource",
        ),
        (
            "ACTOR_RESOURCES",
            '{"fast_disk": 0}',
            r"NIGHTSHIFT_ACTOR_RESOURCES\['fast_disk'\]: .*greater than 0",
        ),
        ("ACTOR_LABELS", '{"zone": "!a"}', r"NIGHTSHIFT_ACTOR_LABELS\['zone'\]: .*pattern"),
        (
            "NODE_GROUPS",
            '[{"name": "gpu", "max": 1}]',
            r"NIGHTSHIFT_NODE_GROUPS\[0\]\['max_nodes'\]: Field required",
        ),
    ],
)
def test_an_error_in_json_is_named_by_its_place(
    stack: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(f"NIGHTSHIFT_{variable}", value)
    with pytest.raises(SettingsError, match=expected):
        load_settings()


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://bucket", "neither s3:// nor file:///"),
        ("s3://", "has no bucket"),
        ("s3:///prefix", "has no bucket"),
        ("file:///", "has no folder"),
        ("s3://bucket/a?b", "contains [?] or #"),
        ("file:///data/#1", "contains [?] or #"),
    ],
)
def test_a_storage_uri_that_would_lead_elsewhere_is_refused(
    stack: Path, monkeypatch: pytest.MonkeyPatch, uri: str, expected: str
) -> None:
    monkeypatch.setenv("NIGHTSHIFT_STORAGE_URI", uri)
    with pytest.raises(SettingsError, match=f"NIGHTSHIFT_STORAGE_URI: .*{expected}"):
        load_settings()


@pytest.mark.parametrize(
    ("variable", "highest", "last"),
    [
        ("STACK_S3_PORT", 55531, len(seaweedfs.PORTS) - 1 + GRPC_OFFSET),
        ("STACK_PREFECT_PORT", 65535, 0),
        ("STACK_RAY_PORT", 65533, len(ray_head.PORTS) - 1),
    ],
)
def test_the_last_port_that_follows_from_a_wish_is_valid(
    stack: Path, monkeypatch: pytest.MonkeyPatch, variable: str, highest: int, last: int
) -> None:
    assert highest + last == 65535
    monkeypatch.setenv(f"NIGHTSHIFT_{variable}", str(highest))
    load_settings()
    monkeypatch.setenv(f"NIGHTSHIFT_{variable}", str(highest + 1))
    load_settings.cache_clear()
    with pytest.raises(SettingsError, match=f"less than or equal to {highest}"):
        load_settings()


@pytest.mark.parametrize(
    ("upper", "lower", "expected"),
    [
        ("", "", "127.0.0.1,localhost"),
        ("intranet", "", "intranet,127.0.0.1,localhost"),
        ("intranet", "intranet,lab", "intranet,lab,127.0.0.1,localhost"),
        ("*", "", "*"),
    ],
)
def test_this_machine_is_never_reached_through_a_proxy(
    stack: Path, monkeypatch: pytest.MonkeyPatch, upper: str, lower: str, expected: str
) -> None:
    monkeypatch.setenv("NO_PROXY", upper)
    monkeypatch.setenv("no_proxy", lower)
    for _ in range(2):
        activate_environment()
        assert environment("NO_PROXY", "no_proxy") == {"NO_PROXY": expected, "no_proxy": expected}


def test_missing_storage_says_how_to_get_one() -> None:
    with pytest.raises(SettingsError, match="run `nightshift up` for a local one"):
        Settings(storage_uri="").require_storage()


def test_an_interface_that_the_user_chose_for_gloo_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "chosen")
    use_interface("found")
    assert child_environment()["GLOO_SOCKET_IFNAME"] == "chosen"
    monkeypatch.delenv("GLOO_SOCKET_IFNAME")
    use_interface("found")
    assert child_environment()["GLOO_SOCKET_IFNAME"] == "found"
