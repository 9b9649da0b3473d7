"""A folder as a store, with S3's guarantees: atomic writes, conditional writes, metadata.

Writers lock the folder that they write to; the system releases the lock of a dead process. Names
that start with a dot are never objects: they are unfinished writes, which a crash may leave.
"""

import errno
import fcntl
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from infra.errors import ObjectNotFound, PreconditionFailed, StorageError
from infra.storage.base import OCTET_STREAM, ObjectInfo, Storage, checked_key

METADATA_FOLDER = ".metadata"


class FileStorage(Storage):
    """The store of a `file:///folder` URI; creates the folder if it does not exist."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._root = Path(unquote(urlsplit(uri).path))
        with self._converting_errors():
            self._root.mkdir(parents=True, exist_ok=True)

    def put(
        self,
        key: str,
        data: bytes,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str = OCTET_STREAM,
    ) -> str:
        del content_type  # a file has none
        path = self._path(key)
        with self._converting_errors(), _new_file(path) as file:
            file.write(data)
            return self._commit(file, path, key, if_absent, if_match, metadata or {})

    def put_file(
        self,
        key: str,
        path: Path,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str = OCTET_STREAM,
    ) -> str:
        del content_type
        with self._converting_errors(), path.open("rb") as source:
            return self._put_stream(key, source, if_absent, if_match, metadata or {})

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        with self._converting_errors(key), self._path(key).open("rb") as file:
            return file.read(), _etag(os.fstat(file.fileno()))

    def head(self, key: str) -> ObjectInfo | None:
        try:
            with self._converting_errors(key):
                status = self._path(key).stat()
                metadata = self._read_metadata(key, _etag(status))
        except ObjectNotFound:
            return None
        return _info(key, status, metadata) if S_ISREG(status.st_mode) else None

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        with self._converting_errors():
            yield from sorted(self._walk(prefix), key=lambda info: info.key)

    def copy(self, source: str, target: str) -> None:
        with self._converting_errors(source), self._path(source).open("rb") as stream:
            metadata = self._read_metadata(source, _etag(os.fstat(stream.fileno())))
            self._put_stream(target, stream, if_absent=False, if_match=None, metadata=metadata)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            path = self._path(key)
            if path.parent.is_dir():
                with self._converting_errors(), _locked(path.parent):
                    path.unlink(missing_ok=True)
                    self._metadata_path(key).unlink(missing_ok=True)

    def presign(self, key: str, expires_s: int) -> str:
        del expires_s  # a file's address does not expire
        return self._path(key).as_uri()

    def open(self, key: str) -> pa.NativeFile:
        with self._converting_errors(key):
            return pa.OSFile(str(self._path(key)))

    def _fetch(self, key: str, path: Path) -> None:
        with self._converting_errors(key):
            source = self._path(key).open("rb")
        with source, _new_file(path) as file:
            shutil.copyfileobj(source, file)
            os.replace(file.name, path)

    def _put_stream(
        self,
        key: str,
        source: BinaryIO,
        if_absent: bool,
        if_match: str | None,
        metadata: Mapping[str, str],
    ) -> str:
        target = self._path(key)
        with self._converting_errors(), _new_file(target) as file:
            shutil.copyfileobj(source, file)
            return self._commit(file, target, key, if_absent, if_match, metadata)

    def _commit(
        self,
        file: BinaryIO,
        path: Path,
        key: str,
        if_absent: bool,
        if_match: str | None,
        metadata: Mapping[str, str],
    ) -> str:
        etag = _finish(file)
        with _locked(path.parent):
            current = _etag(path.stat()) if path.exists() else None
            if if_absent and current is not None:
                raise PreconditionFailed(f"{key} is already in {self.uri}")
            if if_match is not None and current != if_match:
                raise PreconditionFailed(f"{key} in {self.uri} was changed by another writer")
            os.replace(file.name, path)
            self._write_metadata(key, etag, metadata)
        return etag

    def _write_metadata(self, key: str, etag: str, metadata: Mapping[str, str]) -> None:
        path = self._metadata_path(key)
        if not metadata:
            path.unlink(missing_ok=True)
            return
        with _new_file(path) as file:
            lower = {name.lower(): value for name, value in metadata.items()}
            file.write(json.dumps({"etag": etag, "metadata": lower}).encode())
            file.flush()
            os.replace(file.name, path)

    def _read_metadata(self, key: str, etag: str) -> Mapping[str, str]:
        """The metadata of the object with this etag; empty if they belong to another one."""
        try:
            stored = json.loads(self._metadata_path(key).read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return {}
        return stored["metadata"] if stored["etag"] == etag else {}

    def _walk(self, prefix: str) -> Iterator[ObjectInfo]:
        top = self._root / prefix.rpartition("/")[0]
        for folder, subfolders, names in os.walk(top, onerror=_raise_unless_missing):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            for name in names:
                path = Path(folder, name)
                key = path.relative_to(self._root).as_posix()
                if name.startswith(".") or not key.startswith(prefix):
                    continue
                try:
                    yield _info(key, path.stat(), {})
                except FileNotFoundError:  # deleted since the folder was read
                    continue

    def _path(self, key: str) -> Path:
        return self._root / checked_key(key)

    def _metadata_path(self, key: str) -> Path:
        return self._root / METADATA_FOLDER / f"{checked_key(key)}.json"

    @contextmanager
    def _converting_errors(self, key: str | None = None) -> Iterator[None]:
        """Converts OSError to StorageError; if `key` is given, a missing file is ObjectNotFound."""
        try:
            yield
        except OSError as exc:
            if key is not None and exc.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
                raise ObjectNotFound(f"{key} is not in {self.uri}") from exc
            raise StorageError(self._explain(exc)) from exc

    def _explain(self, exc: OSError) -> str:
        folder = exc.filename or self._root
        match exc.errno:
            case errno.ENOSPC | errno.EDQUOT:
                free_bytes = shutil.disk_usage(self._root).free
                return (
                    f"the disk that holds {self._root} is full: {free_bytes / 1e6:,.1f} MB are free"
                )
            case errno.EROFS | errno.EACCES | errno.EPERM:
                return (
                    f"{folder} cannot be written or read ({exc.strerror}): "
                    "check its owner and NIGHTSHIFT_STORAGE_URI"
                )
            case errno.ENAMETOOLONG:
                return f"a key is too long for the file system of {self._root}: {folder}"
            case _:
                return f"{folder}: {exc.strerror or exc} (NIGHTSHIFT_STORAGE_URI is {self.uri})"


def _raise_unless_missing(exc: OSError) -> None:
    if not isinstance(exc, FileNotFoundError | NotADirectoryError):
        raise exc


@contextmanager
def _new_file(target: Path) -> Iterator[BinaryIO]:
    """A hidden file beside `target`; removed at the end unless it was renamed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    hidden = target.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        with hidden.open("xb") as file:
            yield file
    finally:
        hidden.unlink(missing_ok=True)


def _finish(file: BinaryIO) -> str:
    """Flushes the file to disk and sets its time, so that each write has its own etag."""
    file.flush()
    now_ns = time.time_ns()
    os.utime(file.fileno(), ns=(now_ns, now_ns))
    os.fsync(file.fileno())
    return _etag(os.fstat(file.fileno()))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Locks the folder against other writers; flushes renames to disk at the end."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _etag(stat: os.stat_result) -> str:
    return f"{stat.st_mtime_ns:x}-{stat.st_ino:x}-{stat.st_size:x}"


def _info(key: str, stat: os.stat_result, metadata: Mapping[str, str]) -> ObjectInfo:
    modified = datetime.fromtimestamp(stat.st_mtime, UTC)
    return ObjectInfo(
        key=key, size_bytes=stat.st_size, etag=_etag(stat), modified=modified, metadata=metadata
    )
