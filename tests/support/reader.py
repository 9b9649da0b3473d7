"""Reads a store as a reader without our code does: with pyarrow's own file systems."""

from urllib.parse import urlsplit

from pyarrow.fs import FileSystem, LocalFileSystem, S3FileSystem

from infra.storage import Storage
from infra.storage.s3 import S3Storage


def filesystem_of(storage: Storage) -> tuple[FileSystem, str]:
    """Returns a file system with the store's keys, and the root of the storage URI in it.

    An object is at `f"{root}/{key}"`.
    """
    uri = urlsplit(storage.uri)
    if not isinstance(storage, S3Storage):
        return LocalFileSystem(), uri.path
    keys = storage._client._request_signer._credentials
    endpoint = urlsplit(storage._client.meta.endpoint_url)
    filesystem = S3FileSystem(
        access_key=keys.access_key,
        secret_key=keys.secret_key,
        endpoint_override=endpoint.netloc,
        scheme=endpoint.scheme,
        region="us-east-1",
    )
    return filesystem, f"{uri.netloc}{uri.path}".rstrip("/")
