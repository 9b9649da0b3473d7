"""The S3 policies of infra/deploy, on a server that enforces them: they allow what the code does,
and no more."""

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from pyarrow.fs import S3FileSystem

from infra.errors import StorageError
from infra.local import supervised
from infra.storage import open_storage, s3
from infra.storage.parquet import encode, read_rows
from infra.storage.s3 import S3Storage
from tests.conftest import REPO_ROOT
from tests.integration.conftest import S3Server, seaweedfs_below
from tests.support import ports
from tests.support.night import wait_until
from tests.support.reader import filesystem_of

PREFIX = "prod"
PART = "outputs/job/dt=2026-11-02/part.parquet"
PARTS_BYTES = s3.MULTIPART_THRESHOLD_BYTES + 2**20
"""The size of a file that is uploaded in parts."""
NEEDED_TO = {
    "ListObjectsV2": {"s3:ListBucket"},
    "GetObject": {"s3:GetObject"},
    "HeadObject": {"s3:GetObject"},
    "PutObject": {"s3:PutObject"},
    "CopyObject": {"s3:GetObject", "s3:PutObject"},
    "DeleteObjects": {"s3:DeleteObject"},
    "CreateMultipartUpload": {"s3:PutObject"},
    "UploadPart": {"s3:PutObject"},
    "UploadPartCopy": {"s3:GetObject", "s3:PutObject"},
    "CompleteMultipartUpload": {"s3:PutObject"},
    "AbortMultipartUpload": {"s3:AbortMultipartUpload"},
}
"""The actions that AWS requires for each operation of boto3."""


def policy(name: str, bucket: str = "") -> dict[str, Any]:
    text = (REPO_ROOT / "infra" / "deploy" / f"s3-policy-{name}.json").read_text()
    return json.loads(text.replace("BUCKET", bucket or "BUCKET").replace("PREFIX", PREFIX))


def actions(document: dict[str, Any]) -> set[str]:
    named = [statement["Action"] for statement in document["Statement"]]
    return {action for each in named for action in ([each] if isinstance(each, str) else each)}


def without(document: dict[str, Any], action: str) -> dict[str, Any]:
    """The policy without one action."""
    statements = []
    for statement in document["Statement"]:
        left = actions({"Statement": [statement]}) - {action}
        statements += [statement | {"Action": sorted(left)}] if left else []
    return document | {"Statement": statements}


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, s3_keys: tuple[str, str]
) -> Iterator[S3Server]:
    """A SeaweedFS where tests create users and their policies."""
    folder = tmp_path_factory.mktemp("policies")
    spec, server = seaweedfs_below(folder, s3_keys, ports.POLICIES)
    supervised.start(replace(spec, argv=[*spec.argv, "-s3.iam.readOnly=false"]), folder)
    yield server
    supervised.stop(spec.name, folder, timeout_s=0)


def client(server: S3Server, service: str, access_key: str, secret_key: str) -> Any:
    config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
    return boto3.Session(access_key, secret_key, region_name="us-east-1").client(
        service, endpoint_url=server.endpoint, config=config
    )


@dataclass(frozen=True, slots=True)
class User:
    """A user with one policy and its own keys."""

    server: S3Server
    access_key: str
    secret_key: str

    def client(self) -> Any:
        return client(self.server, "s3", self.access_key, self.secret_key)

    def filesystem(self) -> S3FileSystem:
        keys = {"access_key": self.access_key, "secret_key": self.secret_key}
        return S3FileSystem(
            endpoint_override=urlsplit(self.server.endpoint).netloc, scheme="http", **keys
        )

    def storage(self) -> S3Storage:
        """The store below the prefix, opened as runs open it."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ACCESS_KEY_ID", self.access_key)
            patch.setenv("AWS_SECRET_ACCESS_KEY", self.secret_key)
            storage = open_storage(self.server.settings(PREFIX))
        assert isinstance(storage, S3Storage)
        return storage


def make_user(server: S3Server, document: dict[str, Any]) -> User:
    iam = client(server, "iam", server.access_key, server.secret_key)
    name = uuid.uuid4().hex
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="only", PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    user = User(server, key["AccessKeyId"], key["SecretAccessKey"])
    wait_until(lambda: error_of(lambda: user.client().list_buckets()) != "InvalidAccessKeyId", 10)
    return user


def error_of(ask: Callable[[], object]) -> str:
    """The code of the server's refusal; empty if it does not refuse."""
    try:
        ask()
    except ClientError as exc:
        return str(exc.response["Error"]["Code"])
    return ""


def do_everything(storage: S3Storage, folder: Path) -> None:
    """Calls each method of a store once, also on the paths of large objects."""
    storage.probe()
    table = pa.table({"n": [1, 2]})
    storage.put(PART, encode(table, table.schema, {}), if_absent=True)
    storage.get(PART)
    assert storage.head("missing") is None
    storage.copy(PART, "copies/part")
    read_rows(storage, PART, columns=["n"], row_groups=[0])
    filesystem, root = filesystem_of(storage)
    assert (
        ds.dataset(f"{root}/outputs/job", filesystem=filesystem, partitioning="hive").count_rows()
        == 2
    )
    large = folder / "large"
    with large.open("wb") as file:
        file.truncate(PARTS_BYTES)
    storage.put_file("large", large)
    with pytest.MonkeyPatch.context() as patch:
        # As if it were too large for one copy request.
        patch.setattr(s3, "MAX_SINGLE_REQUEST_BYTES", 2**20)
        storage.copy("large", "copies/large")
    storage.download("copies", folder / "down")
    storage.upload(folder / "down", "up")
    storage.delete([info.key for info in storage.list("")])


def break_off_upload(storage: S3Storage, folder: Path, server: S3Server) -> int:
    """Aborts an upload after its first part; returns the number of unfinished uploads on the
    server."""

    def refuse(**_: Any) -> None:
        raise OSError("broken off")

    large = folder / "broken-off"
    with large.open("wb") as file:
        file.truncate(PARTS_BYTES)
    storage._client.meta.events.register_first("before-call.s3.UploadPart", refuse)
    with pytest.raises(OSError, match="broken off"):
        storage.put_file("broken-off", large)
    admin = client(server, "s3", server.access_key, server.secret_key)
    return len(admin.list_multipart_uploads(Bucket=server.bucket).get("Uploads", []))


def test_the_policy_of_runs_names_the_actions_of_everything_that_a_store_does(
    server: S3Server, tmp_path: Path
) -> None:
    storage = make_user(server, policy("runs", server.bucket)).storage()
    operations: set[str] = set()
    storage._client.meta.events.register(
        "before-call.s3", lambda model, **_: operations.add(model.name)
    )
    do_everything(storage, tmp_path)
    assert break_off_upload(storage, tmp_path, server) == 0
    assert operations == set(NEEDED_TO)
    assert actions(policy("runs")) == set().union(*NEEDED_TO.values())


# Not AbortMultipartUpload: for SeaweedFS aborting is a write. The test above covers that action.
@pytest.mark.parametrize("action", sorted(actions(policy("runs")) - {"s3:AbortMultipartUpload"}))
def test_runs_need_each_action(server: S3Server, tmp_path: Path, action: str) -> None:
    user = make_user(server, without(policy("runs", server.bucket), action))
    with pytest.raises(
        (StorageError, OSError), match=r"refused access|ACCESS_DENIED|could not be deleted"
    ):
        do_everything(user.storage(), tmp_path)


def test_runs_may_change_nothing_outside_the_prefix_nor_the_bucket(server: S3Server) -> None:
    runs = make_user(server, policy("runs", server.bucket)).client()
    inside = {"Bucket": server.bucket, "Key": f"{PREFIX}/object"}
    elsewhere = {"Bucket": server.bucket, "Key": "other/object"}
    admin = client(server, "s3", server.access_key, server.secret_key)
    for place in (inside, elsewhere):
        admin.put_object(**place, Body=b"")
    assert error_of(lambda: runs.get_object(**inside)) == ""
    for refused in (
        lambda: runs.get_object(**elsewhere),
        lambda: runs.put_object(**elsewhere, Body=b""),
        lambda: runs.delete_object(**elsewhere),
        lambda: runs.copy_object(**inside, CopySource=elsewhere),
        lambda: runs.put_object_tagging(**inside, Tagging={"TagSet": []}),
        lambda: runs.get_bucket_policy(Bucket=server.bucket),
        lambda: runs.delete_bucket(Bucket=server.bucket),
        lambda: runs.create_bucket(Bucket="another"),
    ):
        assert error_of(refused) == "AccessDenied"


def test_readers_see_what_is_published_and_nothing_else(server: S3Server) -> None:
    table = pa.table({"n": [1, 2]})
    published = {"Bucket": server.bucket, "Key": f"{PREFIX}/{PART}"}
    quarantined = {"Bucket": server.bucket, "Key": f"{PREFIX}/work/job/quarantine-0.parquet"}
    admin = client(server, "s3", server.access_key, server.secret_key)
    for place in (published, quarantined):
        admin.put_object(**place, Body=encode(table, table.schema, {}))
    user = make_user(server, policy("readers", server.bucket))
    folder = f"{server.bucket}/{PREFIX}/outputs/job"
    assert ds.dataset(folder, filesystem=user.filesystem(), partitioning="hive").count_rows() == 2
    readers = user.client()
    assert error_of(lambda: readers.get_object(**published)) == ""
    for refused in (
        lambda: readers.get_object(**quarantined),
        lambda: readers.list_objects_v2(Bucket=server.bucket, Prefix=f"{PREFIX}/work/"),
        lambda: readers.list_objects_v2(Bucket=server.bucket),
        lambda: readers.put_object(**published, Body=b""),
        lambda: readers.delete_object(**published),
    ):
        assert error_of(refused) == "AccessDenied"
