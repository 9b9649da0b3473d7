"""The interface of every store. Keys are relative to the storage URI, with "/" between parts.

Knows nothing about what is stored.
"""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from infra.errors import PreconditionFailed, StorageError

PROBE_AGE = timedelta(hours=1)
"""An older probe object was left by a killed process."""
OCTET_STREAM = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object. Only `head` fills `metadata`; its keys are lower case."""

    key: str
    size_bytes: int
    etag: str
    modified: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAbilities:
    """What a store did in a test, not what it claims."""

    conditional_put: bool
    """Whether it enforces If-None-Match and If-Match: exactly one of several writers wins."""


class Storage(ABC):
    """Objects below one URI. Safe to use from several threads.

    Raises StorageError and its subclasses ObjectNotFound, PreconditionFailed and StorageAway. The
    client retries a conditional write whose answer was lost, and the retry may fail because the
    first attempt succeeded. After PreconditionFailed a writer must compare the stored object with
    its own.
    """

    uri: str

    @abstractmethod
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
        """Writes an object atomically and returns its etag.

        Raises PreconditionFailed if `if_absent` and the key exists, or if the current object does
        not have the etag `if_match`. Metadata keys and values are ASCII.
        """

    @abstractmethod
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
        """Like `put`, from a file of any size."""

    @abstractmethod
    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """The object's bytes and the etag of exactly these bytes; raises ObjectNotFound."""

    @abstractmethod
    def head(self, key: str) -> ObjectInfo | None:
        """The object with its metadata; None if it does not exist."""

    @abstractmethod
    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key starts with `prefix`, sorted by key."""

    @abstractmethod
    def copy(self, source: str, target: str) -> None:
        """Copies bytes and metadata inside the store; raises ObjectNotFound."""

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Removes objects; ignores missing ones."""

    @abstractmethod
    def presign(self, key: str, expires_s: int) -> str:
        """A URL by which anyone can read the object until it expires; does not check that it
        exists."""

    @abstractmethod
    def open(self, key: str) -> Any:
        """The object as a file for pyarrow, which the caller closes; raises ObjectNotFound."""

    @abstractmethod
    def _fetch(self, key: str, path: Path) -> None:
        """Writes the object to `path` atomically."""

    def get(self, key: str) -> bytes:
        """The object's bytes; raises ObjectNotFound."""
        return self.get_with_etag(key)[0]

    def download(self, prefix: str, folder: Path) -> int:
        """Copies all objects below the folder `prefix` into a local folder; returns their
        number."""
        num_objects = 0
        for info in self.list(folder_prefix(prefix)):
            path = folder / checked_key(info.key.removeprefix(folder_prefix(prefix)))
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._fetch(info.key, path)
            except OSError as exc:
                raise StorageError(f"{path} cannot be written: {exc.strerror}") from exc
            num_objects += 1
        return num_objects

    def upload(self, folder: Path, prefix: str) -> int:
        """Copies a local folder, without hidden files, below `prefix`; returns the number of
        objects."""
        num_objects = 0
        for path in sorted(folder.rglob("*")):
            relative = path.relative_to(folder)
            is_hidden = any(part.startswith(".") for part in relative.parts)
            if path.is_file() and not is_hidden:
                self.put_file(folder_prefix(prefix) + relative.as_posix(), path)
                num_objects += 1
        return num_objects

    def probe(self) -> StoreAbilities:
        """Tests with a temporary object what this store does."""
        key = f"_probe/{uuid.uuid4().hex}"
        try:
            etag = self.put(key, b"first")
            return StoreAbilities(
                conditional_put=self._refuses(key, if_absent=True)
                and self._refuses(key, if_match="0" * 32)
                and not self._refuses(key, if_match=etag)
            )
        finally:
            oldest = datetime.now(UTC) - PROBE_AGE
            stale = [item.key for item in self.list("_probe/") if item.modified < oldest]
            self.delete([key, *stale])

    def _refuses(self, key: str, *, if_absent: bool = False, if_match: str | None = None) -> bool:
        try:
            self.put(key, b"second", if_absent=if_absent, if_match=if_match)
        except PreconditionFailed:
            return True
        except StorageError:  # a store without conditional writes may raise any other error
            return False
        return False


def folder_prefix(prefix: str) -> str:
    """`prefix` ending in exactly one slash; the empty prefix stays empty."""
    return f"{prefix.rstrip('/')}/" if prefix else ""


def checked_key(key: str) -> str:
    """The key itself; raises StorageError if it is empty, hidden or leads out of the store."""
    has_bad_part = any(not part or part.startswith(".") for part in key.split("/"))
    if has_bad_part or "\\" in key or not key.isprintable():
        raise StorageError(
            f"{key!r} is not a key: its parts between slashes must not be empty, start with a dot, "
            "or contain backslashes or control characters"
        )
    return key
