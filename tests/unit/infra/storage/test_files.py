import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.errors import ObjectNotFound, PreconditionFailed, StorageError
from infra.storage.files import METADATA_FOLDER, FileStorage


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "the store"


@pytest.fixture
def storage(root: Path) -> FileStorage:
    return FileStorage(root.as_uri())


def test_each_write_has_its_own_etag_even_for_the_same_bytes(storage: FileStorage) -> None:
    etags = [storage.put("key", b"same") for _ in range(200)]
    assert len(set(etags)) == len(etags)


def test_a_stale_etag_is_refused_and_the_current_one_is_not(storage: FileStorage) -> None:
    first = storage.put("key", b"1")
    second = storage.put("key", b"2", if_match=first)
    with pytest.raises(PreconditionFailed):
        storage.put("key", b"3", if_match=first)
    assert storage.get_with_etag("key") == (b"2", second)


def test_a_write_that_fails_half_way_leaves_the_old_object(
    storage: FileStorage, root: Path
) -> None:
    storage.put("key", b"before")
    with pytest.raises(TypeError):
        storage.put("key", "not bytes")  # type: ignore[arg-type]  # what is tested
    assert storage.get("key") == b"before"
    assert [path.name for path in root.iterdir()] == ["key"]


def test_an_object_that_is_removed_during_its_copy_is_copied_completely(
    storage: FileStorage, root: Path
) -> None:
    """The parts of a publisher that lost a race may be deleted at any moment."""
    storage.put("part", b"rows", metadata={"rows": "4"})
    kept = root / METADATA_FOLDER / "part.json"
    metadata = kept.read_bytes()
    kept.unlink()
    # A reader of the metadata is in the middle of a copy, and blocks until they are written.
    os.mkfifo(kept)
    with ThreadPoolExecutor(1) as other:
        copying = other.submit(storage.copy, "part", "copy")
        with kept.open("wb") as pipe:
            (root / "part").unlink()
            pipe.write(metadata)
        copying.result(timeout=60)
    head = storage.head("copy")
    assert head is not None
    assert (storage.get("copy"), head.metadata) == (b"rows", {"rows": "4"})
    with pytest.raises(ObjectNotFound):
        storage.copy("part", "copy")


def test_an_unfinished_write_is_not_an_object(storage: FileStorage, root: Path) -> None:
    storage.put("folder/key", b"1", metadata={"a": "b"})
    (root / "folder" / ".0123.tmp").write_bytes(b"half")
    (root / ".locks").mkdir()
    (root / ".locks" / "x").touch()
    assert [info.key for info in storage.list("")] == ["folder/key"]


def test_metadata_of_an_earlier_object_never_belong_to_a_later_one(
    storage: FileStorage, root: Path
) -> None:
    storage.put("key", b"1", metadata={"receipt": "old"})
    kept = (root / METADATA_FOLDER / "key.json").read_bytes()
    storage.put("key", b"2")
    (root / METADATA_FOLDER / "key.json").write_bytes(kept)
    head = storage.head("key")
    assert head is not None
    assert dict(head.metadata) == {}


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff"])
def test_damaged_metadata_count_as_none(storage: FileStorage, root: Path, damage: bytes) -> None:
    storage.put("key", b"1", metadata={"receipt": "r"})
    (root / METADATA_FOLDER / "key.json").write_bytes(damage)
    head = storage.head("key")
    assert head is not None
    assert dict(head.metadata) == {}


def test_metadata_keys_come_back_in_lower_case_as_from_s3(storage: FileStorage, root: Path) -> None:
    etag = storage.put("key", b"1", metadata={"Receipt": "R"})
    stored = json.loads((root / METADATA_FOLDER / "key.json").read_text())
    assert stored == {"etag": etag, "metadata": {"receipt": "R"}}


def test_deleting_an_object_deletes_its_metadata(storage: FileStorage, root: Path) -> None:
    storage.put("a/key", b"1", metadata={"receipt": "r"})
    storage.delete(["a/key", "a/other", "b/key"])
    assert not any(path.is_file() for path in root.rglob("*"))


def test_a_prefix_is_compared_as_text_not_as_a_folder(storage: FileStorage) -> None:
    for key in ("a/1", "a-1", "ab/1", "b"):
        storage.put(key, b"")
    assert [info.key for info in storage.list("a")] == ["a-1", "a/1", "ab/1"]
    assert [info.key for info in storage.list("a/")] == ["a/1"]


def test_a_folder_that_cannot_be_read_is_not_empty(storage: FileStorage, root: Path) -> None:
    (root / "loop").symlink_to("loop")
    with pytest.raises(StorageError, match="loop"):
        list(storage.list("loop/"))


def test_a_listing_below_a_file_is_empty(storage: FileStorage) -> None:
    storage.put("a", b"")
    assert list(storage.list("a/")) == list(storage.list("none/")) == []


def test_a_key_below_another_object_is_an_error_in_plain_words(storage: FileStorage) -> None:
    storage.put("a", b"")
    with pytest.raises(StorageError, match="NIGHTSHIFT_STORAGE_URI"):
        storage.put("a/b", b"")
    assert storage.head("a/b") is None


def test_a_name_too_long_for_the_disk_is_an_error_in_plain_words(storage: FileStorage) -> None:
    with pytest.raises(StorageError, match="too long"):
        storage.put("a/" + "k" * 300, b"")


def test_readers_never_see_half_an_object(storage: FileStorage) -> None:
    values = [bytes([number]) * 100_000 for number in range(20)]
    storage.put("key", values[0])
    stop = threading.Event()
    seen: list[bytes] = []

    def read() -> None:
        while not stop.is_set():
            seen.append(storage.get("key"))

    reader = threading.Thread(target=read)
    reader.start()
    for value in values:
        storage.put("key", value)
    stop.set()
    reader.join()
    assert seen
    assert set(seen) <= set(values)


def test_a_killed_writer_does_not_block_others(storage: FileStorage, root: Path) -> None:
    die_locked = (
        "import fcntl, os, sys; "
        "fcntl.flock(os.open(sys.argv[1], 0), fcntl.LOCK_EX); "
        "os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", die_locked, str(root)], check=False)
    assert killed.returncode == -signal.SIGKILL
    storage.put("key", b"2")
    assert storage.get("key") == b"2"
