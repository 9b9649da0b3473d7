import pytest

from infra.errors import StorageError
from infra.storage.base import checked_key, folder_prefix


@pytest.mark.parametrize("key", ["a", "outputs/job/dt=2026-11-01/_SUCCESS", "قلم/😀.parquet", "a b/c+d"])
def test_ordinary_keys_are_taken(key: str) -> None:
    assert checked_key(key) == key


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", ".hidden", "a/.b", "a\\b", "a\nb"])
def test_keys_that_lead_elsewhere_or_hide_are_refused(key: str) -> None:
    with pytest.raises(StorageError, match="is not a key"):
        checked_key(key)


def test_a_folder_prefix_ends_in_one_slash() -> None:
    assert [folder_prefix(prefix) for prefix in ("a", "a/", "")] == ["a/", "a/", ""]
