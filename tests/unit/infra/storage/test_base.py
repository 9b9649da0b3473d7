from pathlib import Path
from typing import Any

import pytest

from infra.errors import StorageError
from infra.storage.base import checked_key, folder_prefix
from infra.storage.files import FileStorage


class HeedlessStorage(FileStorage):
    """A store that accepts conditions and ignores them."""

    def put(
        self,
        key: str,
        data: bytes,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        **rest: Any,
    ) -> str:
        return super().put(key, data, **rest)


class UnknowingStorage(FileStorage):
    """A store that answers conditions with an error."""

    def put(
        self,
        key: str,
        data: bytes,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        **rest: Any,
    ) -> str:
        if if_absent or if_match:
            raise StorageError("501 Not Implemented")
        return super().put(key, data, **rest)


@pytest.mark.parametrize(
    "key", ["a", "outputs/job/dt=2026-11-01/_SUCCESS", "قلم/😀.parquet", "a b/c+d"]
)
def test_ordinary_keys_are_accepted(key: str) -> None:
    assert checked_key(key) == key


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", ".hidden", "a/.b", "a\\b", "a\nb"]
)
def test_keys_that_lead_elsewhere_or_hide_are_refused(key: str) -> None:
    with pytest.raises(StorageError, match="is not a key"):
        checked_key(key)


def test_a_folder_prefix_ends_in_one_slash() -> None:
    assert [folder_prefix(prefix) for prefix in ("a", "a/", "")] == ["a/", "a/", ""]


@pytest.mark.parametrize(
    ("kind", "is_conditional"),
    [(FileStorage, True), (HeedlessStorage, False), (UnknowingStorage, False)],
)
def test_the_probe_reports_what_the_store_does(
    tmp_path: Path, kind: type[FileStorage], is_conditional: bool
) -> None:
    storage = kind(tmp_path.as_uri())
    assert storage.probe().conditional_put is is_conditional
    assert list(storage.list("")) == []
