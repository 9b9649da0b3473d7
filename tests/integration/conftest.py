"""Real S3 servers for the integration tests: SeaweedFS, and rclone, which ignores conditional
writes."""

import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from infra.local import supervised
from infra.local.ports import LOOPBACK, PortBook, is_open
from infra.local.seaweedfs import BUCKET, PORTS, endpoint_url, seaweedfs_spec
from infra.settings import Settings, child_environment
from infra.storage import Storage, open_storage
from tests.support import ports
from tests.support.night import Night, running_night

if TYPE_CHECKING:
    import playwright.sync_api

ACCESS_KEY = "nightshift-test"
SECRET_KEY = "nightshift-test-secret"
BROWSER_TIMEOUT_MS = 60_000


@dataclass(frozen=True, slots=True)
class S3Server:
    endpoint: str
    bucket: str
    access_key: str
    secret_key: str

    def settings(self, prefix: str) -> Settings:
        """Settings for a store below `prefix` on this server."""
        return Settings(
            storage_uri=f"s3://{self.bucket}/{prefix}",
            s3_endpoint_url=self.endpoint,
            s3_addressing_style="path",
        )


@pytest.fixture(scope="session")
def s3_keys() -> Iterator[tuple[str, str]]:
    """The keys of this session's servers, in the environment of boto3 and child processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        yield ACCESS_KEY, SECRET_KEY


@pytest.fixture(scope="session")
def seaweedfs(
    tmp_path_factory: pytest.TempPathFactory, s3_keys: tuple[str, str]
) -> Iterator[S3Server]:
    folder = tmp_path_factory.mktemp("seaweedfs")
    spec, server = seaweedfs_below(folder, s3_keys, ports.SEAWEEDFS)
    supervised.start(spec, folder)
    yield server
    # After SIGTERM it would wait 20 s for its clients' connections.
    supervised.stop(spec.name, folder, timeout_s=0)


@dataclass(frozen=True, slots=True)
class MortalServer:
    """An S3 server for a single test, which can kill it and start it again with its data."""

    folder: Path
    spec: supervised.ProcessSpec
    s3: S3Server

    def start(self) -> None:
        supervised.start(self.spec, self.folder)

    def kill(self) -> None:
        process = supervised.find(self.spec.name, self.folder)
        assert process is not None
        process.kill()
        process.wait(10)


@pytest.fixture
def mortal_server(tmp_path: Path, s3_keys: tuple[str, str]) -> Iterator[MortalServer]:
    server = MortalServer(tmp_path, *seaweedfs_below(tmp_path, s3_keys, ports.MORTAL_SEAWEEDFS))
    server.start()
    yield server
    supervised.stop(server.spec.name, tmp_path, timeout_s=0)


def seaweedfs_below(
    folder: Path, keys: tuple[str, str], first_port: int
) -> tuple[supervised.ProcessSpec, S3Server]:
    book = PortBook(folder / "ports.json")
    chosen = {
        name: book.choose(name, wished=wished, needs_grpc=True)
        for wished, name in enumerate(PORTS, start=first_port)
    }
    spec = seaweedfs_spec(
        data_dir=folder / "data",
        ports=chosen,
        access_key=keys[0],
        secret_key=keys[1],
        env=child_environment(),
    )
    return spec, S3Server(endpoint_url(chosen["s3"]), BUCKET, *keys)


@pytest.fixture(scope="session")
def rclone(
    tmp_path_factory: pytest.TempPathFactory, s3_keys: tuple[str, str]
) -> Iterator[S3Server]:
    """An S3 server that accepts `If-None-Match` and `If-Match` and ignores them."""
    with running_rclone(tmp_path_factory.mktemp("rclone"), *s3_keys) as server:
        yield server


@contextmanager
def running_rclone(folder: Path, access_key: str, secret_key: str) -> Iterator[S3Server]:
    binary = Path(sys.executable).parent / "rclone"
    if not binary.exists():
        pytest.skip("rclone is not installed")
    (folder / "data" / BUCKET).mkdir(parents=True)
    port = PortBook(folder / "ports.json").choose("rclone", wished=ports.RCLONE)
    spec = supervised.ProcessSpec(
        name="rclone",
        argv=[
            *(str(binary), "serve", "s3", str(folder / "data")),
            f"--addr={LOOPBACK}:{port}",
            f"--auth-key={access_key},{secret_key}",
            *("--config=", f"--cache-dir={folder / 'cache'}"),
        ],
        env=child_environment(),
        is_ready=lambda: is_open(port),
    )
    supervised.start(spec, folder)
    try:
        yield S3Server(endpoint_url(port), BUCKET, access_key, secret_key)
    finally:
        supervised.stop(spec.name, folder, timeout_s=spec.stop_timeout_s)


@pytest.fixture
def s3_settings(seaweedfs: S3Server) -> Settings:
    """Settings for a new, empty prefix."""
    return seaweedfs.settings(uuid.uuid4().hex)


@pytest.fixture(params=["s3", "file"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty store: once on a real S3 server, once in a folder."""
    if request.param == "s3":
        return open_storage(request.getfixturevalue("s3_settings"))
    return open_storage(Settings(storage_uri=(tmp_path / "store").as_uri()))


@pytest.fixture(scope="session")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    """One stack for all tests of nights. Each test uses its own dates and restores the inputs."""
    with running_night(tmp_path_factory.mktemp("night")) as night:
        yield night


@pytest.fixture(scope="module")
def page() -> Iterator["playwright.sync_api.Page"]:
    """A page of a headless Chromium.

    Not a session fixture: while it is open, this thread has a running event loop.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs Chromium (on Debian: apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-quic"]
        )
        page = browser.new_page(viewport={"width": 1400, "height": 1500})
        page.set_default_timeout(BROWSER_TIMEOUT_MS)
        yield page
        browser.close()
