"""Where things are. The only file that reads the environment; knows nothing about what is computed.

`Settings` come from `NIGHTSHIFT_…` variables, then `.env`, then the file that the local stack
leaves in `.nightshift/env`. S3 credentials are not settings: boto3's ordinary chain finds them
(environment, profile, role).
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


Resources = dict[str, Annotated[float, Field(gt=0)]]
"""Amounts by Ray's names for them."""
Labels = dict[str, Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$")]]
"""Ray's labels of nodes. Values are meant literally: of what Ray knows as selectors, only equality
is offered."""


class NodeGroup(BaseModel):
    """Nodes that an autoscaler starts when they are needed. Ray itself cannot be asked what its
    autoscaler may add."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    max_nodes: int = Field(ge=0)
    resources: Resources
    """Of one node: CPU, GPU and whatever else it is started with."""
    labels: Labels = {}


class Settings(BaseSettings):
    """Every setting, each with its default; the field's name in capitals after `NIGHTSHIFT_` is the
    variable."""

    model_config = SettingsConfigDict(env_prefix="NIGHTSHIFT_", frozen=True, extra="ignore")

    storage_uri: str = Field(
        "", description="s3://bucket/prefix or file:///folder: everything is kept below it"
    )
    s3_endpoint_url: str | None = Field(None, description="only for stores that are not AWS")
    s3_region: str = "us-east-1"
    s3_addressing_style: Literal["auto", "path", "virtual"] = "auto"
    s3_checksums: Literal["when_supported", "when_required"] = Field(
        "when_supported",
        description="when_required for stores that refuse the checksums of newer S3 clients",
    )
    ray_address: str | None = Field(None, description="host:port of a running cluster")
    num_actors: int = Field(
        0, ge=0, description="generate actors of a partition; 0: as many as there is room for"
    )
    num_gpus: float = Field(
        0.0,
        ge=0,
        description="GPUs, or a share of one, of a generate actor whose run does not set num_gpus",
    )
    actor_resources: Annotated[Resources, NoDecode] = Field(
        {}, description='what each actor takes beside CPUs and GPUs, as JSON: {"fast_disk": 1}'
    )
    actor_labels: Annotated[Labels, NoDecode] = Field(
        {}, description='labels of the nodes on which actors may be, as JSON: {"zone": "a"}'
    )
    node_groups: Annotated[tuple[NodeGroup, ...], NoDecode] = Field(
        (),
        description="what Ray's autoscaler may add, as a JSON list of objects: name, max_nodes, resources, labels",
    )
    stall_timeout_s: float = Field(
        600, gt=0, description="an actor without progress for so long is replaced"
    )
    node_wait_s: float = Field(
        1800,
        ge=0,
        description="how long runs wait for nodes where none is there that could hold an actor",
    )
    server_wait_s: float = Field(
        300, ge=0, description="how long runs wait for a Prefect server that went away"
    )
    price_per_hour: float = Field(
        0.0, ge=0, description="of one actor, for the costs on the overview; 0: none are shown"
    )
    stack_dir: Path = Field(
        Path(STACK_DIR), description="folder of the local stack: data, logs, process ids"
    )
    stack_s3_port: int = Field(
        8333, ge=1024, le=55531, description="the first of five, and of five 10,000 above"
    )
    stack_prefect_port: int = Field(4200, ge=1024, le=65535)
    stack_ray_port: int = Field(6379, ge=1024, le=65533, description="the first of three")

    @field_validator("storage_uri")
    @classmethod
    def _names_a_place(cls, uri: str) -> str:
        if uri and not uri.startswith(("s3://", "file:///")):
            raise ValueError(f"{uri!r} starts with neither s3:// nor file:///")
        if "?" in uri or "#" in uri:
            raise ValueError(f"{uri!r} holds ? or #, with which the rest of it would be lost")
        if uri.startswith("s3://") and not urlsplit(uri).netloc:
            raise ValueError(f"{uri!r} names no bucket: s3://bucket/prefix is what is needed")
        if uri.startswith("file:///") and not uri.removeprefix("file://").strip("/"):
            raise ValueError(f"{uri!r} names no folder: file:///folder is what is needed")
        return uri.rstrip("/")

    @field_validator("actor_resources", "actor_labels", "node_groups", mode="before")
    @classmethod
    def _reads_json(cls, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else value

    @field_validator("actor_resources")
    @classmethod
    def _has_only_custom_ones(cls, resources: dict[str, float]) -> dict[str, float]:
        if taken := resources.keys() & {"CPU", "GPU"}:
            raise ValueError(
                f"{min(taken)} is what the settings threads, num_threads and num_gpus of runs ask for"
            )
        return resources

    def require_storage(self) -> str:
        """The storage URI; raises SettingsError when none is set."""
        if not self.storage_uri:
            raise SettingsError(
                "no storage is set: run `nightshift up` for a local one, or set NIGHTSHIFT_STORAGE_URI "
                "to s3://bucket/prefix or file:///folder"
            )
        return self.storage_uri


def activate_environment() -> None:
    """Puts the variables of `.env` and of the local stack into this process' environment, never
    over one already set.

    Those of storage come all from one place: the stack's keys are of no use for another endpoint,
    nor others for its. Ray and Prefect read theirs (RAY_AUTH_MODE, PREFECT_API_URL) when they are
    imported: call this first. Servers on this machine are asked without a proxy.
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
    """NO_PROXY, in both spellings, as it is there and with this machine: no proxy reaches the local
    stack."""
    given = (
        f"{environment.get('NO_PROXY', '')},{environment.get('no_proxy', '')},127.0.0.1,localhost"
    )
    hosts = dict.fromkeys(filter(None, map(str.strip, given.split(","))))
    # beside other hosts, "*" is no longer understood as all
    value = "*" if "*" in hosts else ",".join(hosts)
    return {"NO_PROXY": value, "no_proxy": value}


@cache
def load_settings() -> Settings:
    """The settings of this process; raises SettingsError naming the variable that is wrong."""
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
    """How much of a run's log Prefect also prints to this terminal; to be called before Prefect is
    imported."""
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", level)


def child_environment(**variables: str) -> dict[str, str]:
    """A copy of this process' environment with `variables` set, for starting a child process."""
    return {**os.environ, **variables}


def use_interface(name: str) -> None:
    """Which network interface gloo uses in this process, unless one is chosen already
    (GLOO_SOCKET_IFNAME).

    By itself it takes the address of the host's name, which on many machines is loopback's (Debian:
    127.0.1.1), and finds no other machine there.
    """
    os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


def prefect_api_url() -> str | None:
    """The Prefect server's address, which is Prefect's own setting."""
    return os.environ.get("PREFECT_API_URL")


def prefect_auth_string() -> str | None:
    """`user:password` for a Prefect server that wants one, which is Prefect's own setting, too."""
    return os.environ.get("PREFECT_API_AUTH_STRING")
