"""Where things are. The only file that reads the environment; knows nothing about what is computed.

`Settings` come from `NIGHTSHIFT_…` variables, then `.env`, then `.nightshift/env`, which the local
stack writes. S3 credentials are not settings: boto3's default chain finds them (environment,
profile, role).
"""

import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values, load_dotenv
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from infra.errors import SettingsError

STACK_DIR = ".nightshift"
STORAGE_VARIABLES = ("NIGHTSHIFT_STORAGE_URI", "NIGHTSHIFT_S3_", "AWS_")
"""Names, or beginnings of names."""

Resources = dict[str, Annotated[float, Field(gt=0)]]
"""Amounts by Ray's resource names."""
Labels = dict[str, Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$")]]
"""Ray's node labels. Values are literal: of Ray's label selectors only equality is supported."""


class NodeGroup(BaseModel):
    """Nodes that an autoscaler adds on demand. Declared here, because Ray does not report them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    max_nodes: int = Field(ge=0)
    resources: Resources
    """Of one node: CPU, GPU and its custom resources."""
    labels: Labels = {}


class Settings(BaseSettings):
    """Every setting with its default. The variable is `NIGHTSHIFT_` and the field's name in
    capitals."""

    model_config = SettingsConfigDict(env_prefix="NIGHTSHIFT_", frozen=True, extra="ignore")

    storage_uri: str = Field(
        "", description="s3://bucket/prefix or file:///folder: all data goes below it"
    )
    s3_endpoint_url: str | None = Field(None, description="only for stores other than AWS")
    s3_region: str = "us-east-1"
    s3_addressing_style: Literal["auto", "path", "virtual"] = "auto"
    s3_checksums: Literal["when_supported", "when_required"] = Field(
        "when_supported",
        description="when_required: for stores that refuse the checksums of newer S3 clients",
    )
    ray_address: str | None = Field(None, description="host:port of a running cluster")
    num_actors: int = Field(
        0, ge=0, description="generate actors of a partition; 0: as many as fit into the cluster"
    )
    num_gpus: float = Field(
        0.0,
        ge=0,
        description="GPUs of each generate actor, such as 1 or 0.5, unless a run sets num_gpus",
    )
    actor_resources: Annotated[Resources, NoDecode] = Field(
        {}, description='custom resources that each actor takes, as JSON: {"fast_disk": 1}'
    )
    actor_labels: Annotated[Labels, NoDecode] = Field(
        {}, description='labels of the nodes where actors may run, as JSON: {"zone": "a"}'
    )
    node_groups: Annotated[tuple[NodeGroup, ...], NoDecode] = Field(
        (),
        description=(
            "node groups that Ray's autoscaler may add, as a JSON list of objects: "
            "name, max_nodes, resources, labels"
        ),
    )
    stall_timeout_s: float = Field(
        600, gt=0, description="an actor without progress is replaced after this time"
    )
    node_wait_s: float = Field(
        1800,
        ge=0,
        description="how long a run waits for a node that has room for an actor",
    )
    server_wait_s: float = Field(
        300, ge=0, description="how long a run waits for a Prefect server that does not answer"
    )
    price_per_hour: float = Field(
        0.0, ge=0, description="price of one actor, for the costs on the overview; 0: no costs"
    )
    stack_dir: Path = Field(
        Path(STACK_DIR), description="folder of the local stack: data, logs, process ids"
    )
    stack_s3_port: int = Field(
        8333, ge=1024, le=55531, description="the first of five ports; five more are 10,000 above"
    )
    stack_prefect_port: int = Field(4200, ge=1024, le=65535)
    stack_ray_port: int = Field(6379, ge=1024, le=65533, description="the first of three ports")

    @field_validator("storage_uri")
    @classmethod
    def _check_storage_uri(cls, uri: str) -> str:
        if uri and not uri.startswith(("s3://", "file:///")):
            raise ValueError(f"{uri!r} starts with neither s3:// nor file:///")
        if "?" in uri or "#" in uri:
            raise ValueError(f"{uri!r} contains ? or #, which end the path of a URI")
        if uri.startswith("s3://") and not urlsplit(uri).netloc:
            raise ValueError(f"{uri!r} has no bucket: expected s3://bucket/prefix")
        if uri.startswith("file:///") and not uri.removeprefix("file://").strip("/"):
            raise ValueError(f"{uri!r} has no folder: expected file:///folder")
        return uri.rstrip("/")

    @field_validator("actor_resources", "actor_labels", "node_groups", mode="before")
    @classmethod
    def _parse_json(cls, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else value

    @field_validator("actor_resources")
    @classmethod
    def _check_custom_resources(cls, resources: dict[str, float]) -> dict[str, float]:
        if taken := resources.keys() & {"CPU", "GPU"}:
            raise ValueError(
                f"{min(taken)} is not a custom resource: runs set it by their settings "
                "threads, num_threads and num_gpus"
            )
        return resources

    def require_storage(self) -> str:
        """The storage URI; raises SettingsError when none is set."""
        if not self.storage_uri:
            raise SettingsError(
                "no storage is set: run `nightshift up` for a local one, or set "
                "NIGHTSHIFT_STORAGE_URI to s3://bucket/prefix or file:///folder"
            )
        return self.storage_uri


def activate_environment() -> None:
    """Loads the variables of `.env` and of the local stack into this process; never overwrites one.

    The storage variables all come from one source, because keys fit one endpoint only. Call this
    before Ray and Prefect are imported: they read theirs (RAY_AUTH_MODE, PREFECT_API_URL) then.
    Requests to this machine bypass proxies.
    """
    load_dotenv(".env", override=False)
    stack_dir = Path(os.environ.get("NIGHTSHIFT_STACK_DIR", STACK_DIR))
    has_own_storage = "NIGHTSHIFT_STORAGE_URI" in os.environ
    for name, value in dotenv_values(stack_dir / "env").items():
        is_storage = name.startswith(STORAGE_VARIABLES)
        if (name not in os.environ or is_storage) and not (is_storage and has_own_storage):
            os.environ[name] = value or ""
    os.environ.update(around_proxies(os.environ))


def around_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """NO_PROXY in both spellings, extended by this machine: no proxy can reach the local stack."""
    given = [environment.get("NO_PROXY", ""), environment.get("no_proxy", "")]
    names = [name.strip() for name in ",".join([*given, "127.0.0.1", "localhost"]).split(",")]
    hosts = dict.fromkeys(name for name in names if name)
    # "*" means every host only where it stands alone.
    value = "*" if "*" in hosts else ",".join(hosts)
    return {"NO_PROXY": value, "no_proxy": value}


@cache
def load_settings() -> Settings:
    """The settings of this process; raises SettingsError that names the wrong variable."""
    activate_environment()
    try:
        return Settings()
    except ValidationError as exc:
        raise SettingsError("; ".join(_describe(error) for error in exc.errors())) from exc


def _describe(error: Any) -> str:
    variable, *place = error["loc"]
    where = "".join(f"[{part!r}]" for part in place)
    return f"NIGHTSHIFT_{variable.upper()}{where}: {error['msg']}"


def set_console_log_level(level: str) -> None:
    """The level from which Prefect prints a run's log to this terminal; call it before Prefect is
    imported."""
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", level)


def child_environment(**variables: str) -> dict[str, str]:
    """A copy of this process' environment with `variables` set, for starting a child process."""
    return {**os.environ, **variables}


def use_interface(name: str) -> None:
    """Sets gloo's network interface in this process, unless GLOO_SOCKET_IFNAME is set.

    By default gloo uses the address of the host name. On many machines that is loopback's (Debian:
    127.0.1.1), where no other machine can reach it.
    """
    os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


def prefect_api_url() -> str | None:
    """The Prefect server's address; Prefect's own setting."""
    return os.environ.get("PREFECT_API_URL")


def prefect_auth_string() -> str | None:
    """`user:password` for a Prefect server with basic authentication; Prefect's own setting."""
    return os.environ.get("PREFECT_API_AUTH_STRING")
