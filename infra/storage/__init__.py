"""Objects on S3 or in a folder, behind one interface. `open_storage` opens the configured store."""

from infra.settings import Settings
from infra.storage.base import ObjectInfo, Storage, StoreAbilities
from infra.storage.files import FileStorage
from infra.storage.s3 import S3Storage

__all__ = ["ObjectInfo", "Storage", "StoreAbilities", "open_storage"]


def open_storage(settings: Settings, *, is_in_use: bool = False) -> Storage:
    """The store of `storage_uri`, after a first request has succeeded.

    If a run already uses the store (`is_in_use`), a failed first request means an outage and is
    retried. Raises SettingsError if no store is set, and StorageError if endpoint, keys, bucket or
    folder cannot be used.
    """
    uri = settings.require_storage()
    if uri.startswith("file://"):
        return FileStorage(uri)
    return S3Storage(settings, is_in_use=is_in_use)
