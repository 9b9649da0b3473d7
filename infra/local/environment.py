"""The variables with which a process uses the local stack: its `env` file, its children's
environment."""

import contextlib
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

from infra.local.prefect_server import api_url
from infra.local.ray_head import ensure_token
from infra.local.seaweedfs import BUCKET, endpoint_url
from infra.settings import Settings, around_proxies, child_environment

STORAGE_URI = f"s3://{BUCKET}"
_LEASE_STORAGE = "prefect.server.concurrency.lease_storage.filesystem"
_OTHER_PROGRAMS = ("PREFECT_", "RAY_", "AWS_")
_STORAGE = ("NIGHTSHIFT_S3_", "NIGHTSHIFT_STORAGE_URI", "AWS_")


@dataclass(frozen=True, slots=True, kw_only=True)
class StackKeys:
    """The random S3 keys of one stack; they stay the same while its folder exists."""

    access_key: str
    secret_key: str


def load_or_make_keys(stack_dir: Path) -> StackKeys:
    """The keys from the `env` file, or new ones."""
    recorded = recorded_variables(stack_dir)
    return StackKeys(
        access_key=recorded.get("AWS_ACCESS_KEY_ID") or secrets.token_hex(10),
        secret_key=recorded.get("AWS_SECRET_ACCESS_KEY") or secrets.token_hex(20),
    )


def stack_variables(
    stack_dir: Path, *, ports: Mapping[str, int], keys: StackKeys
) -> dict[str, str]:
    """The variables by which any process finds this stack."""
    folder = stack_dir.resolve()
    return {
        "NIGHTSHIFT_STORAGE_URI": STORAGE_URI,
        "NIGHTSHIFT_S3_ENDPOINT_URL": endpoint_url(ports["s3"]),
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        "NIGHTSHIFT_RAY_ADDRESS": f"127.0.0.1:{ports['ray']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(ensure_token(folder / "ray_token")),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PREFECT_API_URL": api_url(ports["prefect"]),
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # In memory, leases would be lost when the server dies, and their slots never released.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": _LEASE_STORAGE,
        "DO_NOT_TRACK": "1",
    }


def recorded_variables(stack_dir: Path) -> dict[str, str]:
    """The variables in the `env` file; empty if there is no such file."""
    path = env_path(stack_dir)
    if not path.exists():
        return {}
    return {name: value or "" for name, value in dotenv_values(path).items()}


def children_environment(settings: Settings, variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of the stack's processes: this process's, with the stack's variables.

    Inherited variables of Prefect, Ray and S3 belong to other servers and are dropped. If the user
    chose storage other than the stack's, its variables and keys are kept.
    """
    inherited = child_environment()
    has_own_storage = _has_own_storage(settings, inherited, variables)
    kept = {
        name: value
        for name, value in inherited.items()
        if not name.startswith(_OTHER_PROGRAMS) or (has_own_storage and name.startswith("AWS_"))
    }
    ours = {
        name: value
        for name, value in variables.items()
        if not (has_own_storage and name.startswith(_STORAGE))
    }
    return {
        **kept,
        **ours,
        "NIGHTSHIFT_STACK_DIR": str(settings.stack_dir.resolve()),
        **around_proxies(inherited),
    }


def _has_own_storage(
    settings: Settings, inherited: Mapping[str, str], variables: Mapping[str, str]
) -> bool:
    """Whether the URI, or both endpoint and key, are not the stack's.

    The endpoint alone proves nothing: the stack may have had another port before.
    """
    if settings.storage_uri != STORAGE_URI:
        return bool(settings.storage_uri)
    is_elsewhere = settings.s3_endpoint_url not in (None, variables["NIGHTSHIFT_S3_ENDPOINT_URL"])
    return is_elsewhere and inherited.get("AWS_ACCESS_KEY_ID") != variables["AWS_ACCESS_KEY_ID"]


def write_env_file(stack_dir: Path, variables: Mapping[str, str]) -> None:
    """Writes the `env` file atomically, readable by its owner only."""
    path = env_path(stack_dir)
    draft = path.with_name("env.draft")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.writelines(f"{name}='{value}'\n" for name, value in variables.items())
    draft.replace(path)


def env_path(stack_dir: Path) -> Path:
    return stack_dir / "env"
