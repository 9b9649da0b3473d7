"""Real S3 servers for the integration tests: SeaweedFS, and rclone, which ignores conditional writes."""

import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.local import supervised
from infra.local.ports import LOOPBACK, PortBook, is_open
from infra.local.seaweedfs import BUCKET, PORTS, endpoint_url, seaweedfs_spec
from infra.settings import Settings, child_environment
from infra.storage import Storage, open_storage

ACCESS_KEY = "nightshift-test"
SECRET_KEY = "nightshift-test-secret"
FIRST_PORT = 21_000


@dataclass(frozen=True, slots=True)
class S3Server:
    endpoint: str
    bucket: str
    access_key: str
    secret_key: str

    def settings(self, prefix: str) -> Settings:
        """Settings for a store below `prefix` on this server."""
        return Settings(
            storage_uri=f"s3://{self.bucket}/{prefix}", s3_endpoint_url=self.endpoint, s3_addressing_style="path"
        )


@pytest.fixture(scope="session")
def s3_keys() -> Iterator[tuple[str, str]]:
    """The keys of the servers of this session, where boto3 and child processes find them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        yield ACCESS_KEY, SECRET_KEY


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory, s3_keys: tuple[str, str]) -> Iterator[S3Server]:
    folder = tmp_path_factory.mktemp("seaweedfs")
    book = PortBook(folder / "ports.json")
    ports = {name: book.choose(name, wished=FIRST_PORT + place, needs_grpc=True) for place, name in enumerate(PORTS)}
    access_key, secret_key = s3_keys
    spec = seaweedfs_spec(
        data_dir=folder / "data", ports=ports, access_key=access_key, secret_key=secret_key, env=child_environment()
    )
    supervised.start(spec, folder)
    yield S3Server(endpoint_url(ports["s3"]), BUCKET, access_key, secret_key)
    supervised.stop(spec.name, folder, timeout_s=spec.stop_timeout_s)


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory, s3_keys: tuple[str, str]) -> Iterator[S3Server]:
    """An S3 server that takes `If-None-Match` and `If-Match` and ignores them."""
    binary = Path(sys.executable).parent / "rclone"
    if not binary.exists():
        pytest.skip("rclone is not installed")
    folder = tmp_path_factory.mktemp("rclone")
    (folder / "data" / BUCKET).mkdir(parents=True)
    port = PortBook(folder / "ports.json").choose("rclone", wished=FIRST_PORT + 100)
    access_key, secret_key = s3_keys
    spec = supervised.ProcessSpec(
        name="rclone",
        argv=[
            str(binary),
            *(
                "serve",
                "s3",
                str(folder / "data"),
                f"--addr={LOOPBACK}:{port}",
                f"--auth-key={access_key},{secret_key}",
            ),
            *("--config=", f"--cache-dir={folder / 'cache'}"),
        ],
        env=child_environment(),
        is_ready=lambda: is_open(port),
    )
    supervised.start(spec, folder)
    yield S3Server(endpoint_url(port), BUCKET, access_key, secret_key)
    supervised.stop(spec.name, folder, timeout_s=spec.stop_timeout_s)


@pytest.fixture
def s3_settings(seaweedfs: S3Server) -> Settings:
    """Settings for an empty prefix of its own."""
    return seaweedfs.settings(uuid.uuid4().hex)


@pytest.fixture(params=["s3", "file"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty store: once on a real S3 server, once in a folder."""
    if request.param == "s3":
        return open_storage(request.getfixturevalue("s3_settings"))
    return open_storage(Settings(storage_uri=(tmp_path / "store").as_uri()))
