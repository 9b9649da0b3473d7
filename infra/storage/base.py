"""What every store can do. Keys are relative to the storage URI, "/" separated; knows nothing about
what is stored."""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from infra.errors import PreconditionFailed, StorageError

PROBE_AGE = timedelta(hours=1)
"""A probe's object that is older was left by a process that was killed."""
OCTET_STREAM = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object; `metadata` is filled by `head` only, its keys are lower case."""

    key: str
    size_bytes: int
    etag: str
    modified: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAbilities:
    """What a store was seen to do, not what it claims."""

    conditional_put: bool
    """If-None-Match and If-Match are enforced: of several writers exactly one wins."""


class Storage(ABC):
    """Objects below one URI. Safe to use from several threads.

    Errors are StorageError, with ObjectNotFound, PreconditionFailed and StorageAway as its special
    cases. A conditional write whose answer was lost is retried by the client and may then be
    refused because of itself: a writer that is refused compares what is there with what it meant to
    write.
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
        """Writes an object whole or not at all and returns its etag.

        With `if_absent` only where none is yet, with `if_match` only over the object with that
        etag; else PreconditionFailed. Metadata keys and values are ASCII.
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
        """Like `put`, from a file that need not fit into memory."""

    @abstractmethod
    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """The object's bytes and the etag of exactly these bytes; raises ObjectNotFound."""

    @abstractmethod
    def head(self, key: str) -> ObjectInfo | None:
        """The object with its metadata, None where there is none."""

    @abstractmethod
    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key starts with `prefix`, sorted by key."""

    @abstractmethod
    def copy(self, source: str, target: str) -> None:
        """Copies bytes and metadata without moving them through this machine; raises
        ObjectNotFound."""

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Removes objects; missing ones are fine."""

    @abstractmethod
    def presign(self, key: str, expires_s: int) -> str:
        """A URL that anyone may read the object with until it expires; does not look whether the
        object is there."""

    @abstractmethod
    def open(self, key: str) -> Any:
        """The object as a file that pyarrow reads; to be closed. Raises ObjectNotFound."""

    @abstractmethod
    def _fetch(self, key: str, path: Path) -> None:
        """Writes the object to `path`, whole or not at all."""

    def get(self, key: str) -> bytes:
        """The object's bytes; raises ObjectNotFound."""
        return self.get_with_etag(key)[0]

    def download(self, prefix: str, folder: Path) -> int:
        """Copies every object below the folder `prefix` into a local folder; returns how many there
        were."""
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
        """Copies a local folder below `prefix`, hidden files left out; returns how many objects
        were written."""
        relative = [
            path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()
        ]
        visible = [
            path for path in relative if not any(part.startswith(".") for part in path.parts)
        ]
        for path in visible:
            self.put_file(folder_prefix(prefix) + path.as_posix(), folder / path)
        return len(visible)

    def probe(self) -> StoreAbilities:
        """Finds out with a throw-away object what this store really does."""
        key = f"_probe/{uuid.uuid4().hex}"
        try:
            etag = self.put(key, b"first")
            return StoreAbilities(
                conditional_put=self._refuses(key, if_absent=True)
                and self._refuses(key, if_match="0" * 32)
                and not self._refuses(key, if_match=etag)
            )
        finally:
            left = [
                item.key
                for item in self.list("_probe/")
                if item.modified < datetime.now(UTC) - PROBE_AGE
            ]
            self.delete([key, *left])

    def _refuses(self, key: str, *, if_absent: bool = False, if_match: str | None = None) -> bool:
        try:
            self.put(key, b"second", if_absent=if_absent, if_match=if_match)
        except PreconditionFailed:
            return True
        except StorageError:  # a store that does not know the condition may answer with any error
            return False
        return False


def folder_prefix(prefix: str) -> str:
    """`prefix` ending in exactly one slash; the empty prefix stays empty."""
    return f"{prefix.rstrip('/')}/" if prefix else ""


def checked_key(key: str) -> str:
    """The key itself; raises StorageError for one that is empty, hidden or leads out of the
    store."""
    parts = key.split("/")
    if (
        any(not part or part.startswith(".") for part in parts)
        or "\\" in key
        or not key.isprintable()
    ):
        raise StorageError(
            f"{key!r} is not a key: its parts between slashes must not be empty, start with a dot or hold "
            "backslashes or control characters"
        )
    return key
