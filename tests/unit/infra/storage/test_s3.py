import pytest

from infra.errors import StorageError
from infra.settings import Settings
from infra.storage import open_storage


def test_an_unknown_profile_is_named_with_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    with pytest.raises(StorageError, match=r"no-such-profile.*AWS_PROFILE"):
        open_storage(Settings(storage_uri="s3://bucket", s3_endpoint_url="http://127.0.0.1:1"))
