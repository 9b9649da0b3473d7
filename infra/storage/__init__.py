"""Objects on S3 or in a folder behind one interface: `open_storage(settings)` gives the one that
the settings name."""

from infra.settings import Settings
from infra.storage.base import ObjectInfo, Storage, StoreAbilities
from infra.storage.files import FileStorage
from infra.storage.s3 import S3Storage

__all__ = ["ObjectInfo", "Storage", "StoreAbilities", "open_storage"]


def open_storage(settings: Settings, *, is_in_use: bool = False) -> Storage:
    """The store that `storage_uri` names, seen to answer.

    One that `is_in_use` by the same run already is only away if it does not answer: that is borne
    for a while. Raises SettingsError where none is set and StorageError where it cannot be used:
    endpoint, keys, bucket or folder.
    """
    uri = settings.require_storage()
    return (
        FileStorage(uri) if uri.startswith("file://") else S3Storage(settings, is_in_use=is_in_use)
    )
