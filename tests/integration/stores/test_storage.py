"""The guarantees of a store, on SeaweedFS and on a folder, and the errors if it cannot be used."""

import os
import random
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from infra.errors import InputError, ObjectNotFound, PreconditionFailed, SettingsError, StorageError
from infra.settings import Settings
from infra.storage import Storage, open_storage
from infra.storage.parquet import encode, read_footer, read_metadata, read_rows
from infra.storage.s3_file import TAIL_BYTES
from tests.integration.conftest import S3Server
from tests.support.reader import filesystem_of

NUM_RACERS = 32


def race(write: Callable[[int], object]) -> list[int]:
    """Runs `write` in many threads at once; returns the numbers of those that were not refused."""
    barrier = threading.Barrier(NUM_RACERS)

    def wins(number: int) -> bool:
        barrier.wait()
        try:
            write(number)
        except PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(NUM_RACERS) as racers:
        return [number for number, won in enumerate(racers.map(wins, range(NUM_RACERS))) if won]


def test_an_object_is_read_with_its_etag_and_metadata(storage: Storage) -> None:
    etag = storage.put("a/b.bin", b"bytes", metadata={"receipt": '{"rows": 3}'})
    head = storage.head("a/b.bin")
    assert storage.get_with_etag("a/b.bin") == (b"bytes", etag)
    assert head is not None
    assert (head.size_bytes, head.etag, dict(head.metadata)) == (
        5,
        etag,
        {"receipt": '{"rows": 3}'},
    )


def test_a_missing_object_is_reported_as_such(storage: Storage) -> None:
    storage.put("a/b", b"")
    assert storage.head("a/c") is None
    assert storage.head("a") is None
    for missing in ("a/c", "a"):
        with pytest.raises(ObjectNotFound, match="is not in"):
            storage.get(missing)
    with pytest.raises(ObjectNotFound):
        storage.copy("a/c", "a/d")


def test_one_of_many_first_writers_wins(storage: Storage) -> None:
    winners = race(lambda number: storage.put("race", str(number).encode(), if_absent=True))
    assert len(winners) == 1
    assert storage.get("race") == str(winners[0]).encode()


def test_one_of_many_replacing_writers_wins(storage: Storage) -> None:
    etag = storage.put("race", b"before")
    winners = race(lambda number: storage.put("race", str(number).encode(), if_match=etag))
    assert len(winners) == 1
    assert storage.get("race") == str(winners[0]).encode()


def test_a_conditional_write_over_a_deleted_object_is_refused(storage: Storage) -> None:
    etag = storage.put("gone", b"before")
    storage.delete(["gone"])
    with pytest.raises(PreconditionFailed):
        storage.put("gone", b"after", if_match=etag)
    assert storage.head("gone") is None


def test_a_large_file_is_uploaded_in_parts_and_read_completely(
    storage: Storage, tmp_path: Path
) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(2**20) * 65)
    storage.put_file("large", large, metadata={"kind": "large"})
    storage.copy("large", "copies/large")
    head = storage.head("copies/large")
    assert head is not None
    assert (head.size_bytes, head.metadata["kind"]) == (large.stat().st_size, "large")
    assert storage.download("copies", tmp_path / "down") == 1
    assert (tmp_path / "down" / "large").read_bytes() == large.read_bytes()


def test_a_file_can_be_written_conditionally(storage: Storage, tmp_path: Path) -> None:
    path = tmp_path / "part"
    path.write_bytes(b"first")
    etag = storage.put_file("part", path, if_absent=True)
    assert storage.get_with_etag("part") == (b"first", etag)
    with pytest.raises(PreconditionFailed):
        storage.put_file("part", path, if_absent=True)


def test_a_long_listing_is_complete_and_sorted_by_key(storage: Storage) -> None:
    keys = [f"many/{number % 7}/{number:04d}" for number in range(2_497)] + [
        "many/0-a",
        "many/0.a",
        "many-else",
    ]
    with ThreadPoolExecutor(8) as writers:
        assert len(list(writers.map(lambda key: storage.put(key, b"x"), keys))) == 2_500
    assert [info.key for info in storage.list("many/")] == sorted(keys[:-1])
    assert [info.key for info in storage.list("many/0")] == sorted(
        key for key in keys if key.startswith("many/0")
    )
    assert list(storage.list("nothing/")) == []
    storage.delete(keys)
    assert list(storage.list("")) == []


def test_a_copy_replaces_its_target(storage: Storage) -> None:
    storage.put("source", b"new", metadata={"version": "2"})
    storage.put("target", b"old", metadata={"version": "1"})
    storage.copy("source", "target")
    head = storage.head("target")
    assert storage.get("target") == b"new"
    assert head is not None
    assert head.metadata["version"] == "2"


def test_deleting_a_missing_object_is_not_an_error(storage: Storage) -> None:
    storage.put("a", b"")
    storage.delete(["a", "b", "c/d"])
    storage.delete([])
    assert storage.head("a") is None


def test_a_presigned_address_can_be_read_without_keys(storage: Storage) -> None:
    storage.put("report.html", b"<p>report</p>", content_type="text/html")
    with urllib.request.urlopen(storage.presign("report.html", 60)) as answer:
        assert answer.read() == b"<p>report</p>"


def test_a_folder_is_copied_both_ways_without_hidden_files(
    storage: Storage, tmp_path: Path
) -> None:
    (tmp_path / "up" / "deep").mkdir(parents=True)
    for name in ("config.json", "deep/weights", ".hidden"):
        (tmp_path / "up" / name).write_text(name)
    assert storage.upload(tmp_path / "up", "models/m/1") == 2
    storage.put("models/m/10/config.json", b"another version")
    assert storage.download("models/m/1", tmp_path / "down") == 2
    assert (tmp_path / "down" / "deep" / "weights").read_text() == "deep/weights"


def test_tables_are_read_from_the_store_directly(storage: Storage) -> None:
    schema = pa.schema([pa.field("n", pa.int64())])
    for day in (1, 2):
        table = pa.table({"n": [day, day]})
        storage.put(
            f"outputs/job/dt=2026-11-0{day}/part.parquet",
            encode(table, schema, {"receipt": str(day)}),
        )
    key = "outputs/job/dt=2026-11-02/part.parquet"
    assert read_footer(storage, key).num_rows == 2
    assert read_metadata(storage, key) == {"receipt": "2"}
    assert read_rows(storage, key, columns=["n"], row_groups=[0])["n"].to_pylist() == [2, 2]
    filesystem, root = filesystem_of(storage)
    dataset = ds.dataset(f"{root}/outputs/job", filesystem=filesystem, partitioning="hive")
    assert sorted(dataset.to_table()["n"].to_pylist()) == [1, 1, 2, 2]


@pytest.mark.parametrize("num_bytes", [0, 1, TAIL_BYTES, 3 * TAIL_BYTES])
def test_an_object_is_read_as_a_file(storage: Storage, num_bytes: int) -> None:
    check_file(storage, num_bytes)


@pytest.mark.parametrize("num_bytes", [0, 1, TAIL_BYTES, 3 * TAIL_BYTES])
def test_an_object_is_read_as_a_file_from_a_store_that_refuses_longer_ranges(
    rclone: S3Server, num_bytes: int
) -> None:
    settings = rclone.settings("ranges").model_copy(update={"s3_checksums": "when_required"})
    check_file(open_storage(settings), num_bytes)


def check_file(storage: Storage, num_bytes: int) -> None:
    data = random.Random(num_bytes).randbytes(num_bytes)
    storage.put("object", data)
    with closing(storage.open("object")) as source, pa.PythonFile(source, "r") as file:
        assert file.size() == num_bytes
        for start in (
            0,
            num_bytes // 3,
            max(0, num_bytes - TAIL_BYTES - 1),
            max(0, num_bytes - 8),
            num_bytes,
            7,
        ):
            for size in (0, 1, 1000, TAIL_BYTES, num_bytes):
                file.seek(start)
                assert file.read(size) == data[start : start + size]
                assert file.tell() == max(start, min(num_bytes, start + size))


def test_a_file_that_is_not_a_table_is_not_a_missing_file(storage: Storage) -> None:
    storage.put("empty", b"")
    storage.put("text", b"no table" * 100_000)
    for key in ("empty", "text"):
        with pytest.raises(InputError, match=key):
            read_rows(storage, key)
    with pytest.raises(ObjectNotFound, match="missing"):
        read_rows(storage, "missing")


def test_the_probe_finds_conditional_writes_and_leaves_no_object(storage: Storage) -> None:
    assert storage.probe().conditional_put is True
    assert list(storage.list("")) == []


def test_the_probe_detects_a_store_that_ignores_conditions(rclone: S3Server) -> None:
    assert open_storage(rclone.settings("probe")).probe().conditional_put is False


def test_a_wrong_checksum_of_a_range_names_the_setting(
    rclone: S3Server,
) -> None:
    rows, schema = pa.table({"n": range(100_000)}), pa.schema([pa.field("n", pa.int64())])
    storage = open_storage(rclone.settings("checksums"))
    storage.put("table.parquet", encode(rows, schema, {}))
    with pytest.raises(StorageError, match="NIGHTSHIFT_S3_CHECKSUMS=when_required"):
        read_rows(storage, "table.parquet")
    plain = open_storage(
        rclone.settings("checksums").model_copy(update={"s3_checksums": "when_required"})
    )
    plain.put("table.parquet", encode(rows, schema, {}))
    assert read_rows(plain, "table.parquet").equals(rows)


def test_a_wrong_access_key_is_named(
    s3_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody-else")
    with pytest.raises(StorageError, match="AWS_ACCESS_KEY_ID"):
        open_storage(s3_settings)


def test_a_wrong_secret_key_is_named_and_not_shown(
    s3_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    with pytest.raises(StorageError, match="AWS_SECRET_ACCESS_KEY") as caught:
        open_storage(s3_settings)
    assert "not-the-secret" not in str(caught.value)


def test_missing_keys_are_named(
    s3_settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StorageError, match="no S3 credentials"):
        open_storage(s3_settings)


def test_a_missing_bucket_is_named(seaweedfs: S3Server) -> None:
    settings = Settings(storage_uri="s3://no-such-bucket", s3_endpoint_url=seaweedfs.endpoint)
    with pytest.raises(StorageError, match=r"no-such-bucket.*NIGHTSHIFT_STORAGE_URI"):
        open_storage(settings)


@pytest.mark.usefixtures("s3_keys")
def test_an_endpoint_that_is_down_is_reported_within_fifteen_seconds() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(StorageError, match="NIGHTSHIFT_S3_ENDPOINT_URL"):
        open_storage(Settings(storage_uri="s3://any", s3_endpoint_url=f"http://127.0.0.1:{port}"))
    assert time.monotonic() - started < 15


def test_missing_storage_is_a_settings_error() -> None:
    with pytest.raises(SettingsError, match="NIGHTSHIFT_STORAGE_URI"):
        open_storage(Settings(storage_uri=""))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_reported_and_keeps_the_old_objects(small_disk: Path) -> None:
    storage = open_storage(Settings(storage_uri=small_disk.as_uri()))
    storage.put("kept", b"before")
    with pytest.raises(StorageError, match=r"disk that holds .* is full: .* MB are free"):
        storage.put("kept", bytes(2**21))
    assert storage.get("kept") == b"before"
    assert [path.name for path in small_disk.iterdir()] == ["kept"]


def test_a_folder_that_cannot_be_written_is_named(small_disk: Path) -> None:
    storage = open_storage(Settings(storage_uri=small_disk.as_uri()))
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(StorageError, match=r"cannot be written.*NIGHTSHIFT_STORAGE_URI"):
        storage.put("key", b"data")
