"""S3 and compatible stores, through boto3."""

from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.client import Config
from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError

from infra.errors import ObjectNotFound, PreconditionFailed, StorageError
from infra.settings import Settings
from infra.storage.base import OCTET_STREAM, ObjectInfo, Storage, checked_key
from infra.storage.s3_errors import converting_errors
from infra.storage.s3_file import S3File
from infra.storage.s3_outages import retry_outages

MAX_SINGLE_REQUEST_BYTES = 5 * 2**30
"""The largest object of one PUT or one copy on S3."""
MULTIPART_THRESHOLD_BYTES = 64 * 2**20
MAX_KEYS_PER_DELETE = 1000
CONNECT_TIMEOUT_S = 3
READ_TIMEOUT_S = 60
MAX_ATTEMPTS = 3
"""botocore's own attempts: a first request with a wrong endpoint or bucket must fail soon."""
MAX_CONNECTIONS = 32


class S3Storage(Storage):
    """The store of an `s3://bucket/prefix` URI; boto3's default chain finds the credentials."""

    def __init__(self, settings: Settings, *, is_in_use: bool = False) -> None:
        self.uri = settings.require_storage()
        self._settings = settings
        parts = urlsplit(self.uri)
        self._bucket = parts.netloc
        self._prefix = f"{parts.path.strip('/')}/" if parts.path.strip("/") else ""
        self._transfer = TransferConfig(
            multipart_threshold=MULTIPART_THRESHOLD_BYTES, max_concurrency=8
        )
        with self._converting_errors():
            self._client = boto3.session.Session().client(
                "s3",
                endpoint_url=settings.s3_endpoint_url,
                region_name=settings.s3_region,
                config=_client_config(settings),
            )
            if is_in_use:
                retry_outages(self._client)
            self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
        if not is_in_use:
            retry_outages(self._client)

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
        return self._put(key, data, _conditions(if_absent, if_match), metadata, content_type)

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
        """Uploads large files in parts; conditional writes in one request, of at most 5 GB."""
        try:
            size_bytes = path.stat().st_size
        except OSError as exc:
            raise StorageError(f"{path} cannot be read: {exc.strerror}") from exc
        conditions = _conditions(if_absent, if_match)
        if size_bytes > MULTIPART_THRESHOLD_BYTES and not conditions:
            return self._put_in_parts(key, path, metadata, content_type)
        if size_bytes > MAX_SINGLE_REQUEST_BYTES:
            raise StorageError(
                f"{path} has {size_bytes / 1e9:.1f} GB: a conditional write takes at most 5 GB"
            )
        with path.open("rb") as file:
            return self._put(key, file, conditions, metadata, content_type)

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        data, answer = self._get(key)
        return data, _bare(answer["ETag"])

    def head(self, key: str) -> ObjectInfo | None:
        try:
            with self._converting_errors(key):
                answer = self._client.head_object(**self._address(key))
        except ObjectNotFound:
            return None
        return ObjectInfo(
            key=key,
            size_bytes=answer["ContentLength"],
            etag=_bare(answer["ETag"]),
            modified=answer["LastModified"],
            metadata={name.lower(): value for name, value in answer["Metadata"].items()},
        )

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        # Not every store lists "a-b" before "a/b".
        yield from sorted(self._list_pages(prefix), key=lambda info: info.key)

    def copy(self, source: str, target: str) -> None:
        with self._converting_errors(source):
            head = self.head(source)
            if head is None:
                raise ObjectNotFound(f"{source} is not in {self.uri}")
            if head.size_bytes <= MAX_SINGLE_REQUEST_BYTES:
                self._client.copy_object(**self._address(target), CopySource=self._address(source))
            else:
                self._client.copy(
                    self._address(source),
                    **self._address(target),
                    ExtraArgs={"Metadata": dict(head.metadata)},
                    Config=self._transfer,
                )

    def delete(self, keys: Iterable[str]) -> None:
        names = [{"Key": self._address(key)["Key"]} for key in keys]
        for start in range(0, len(names), MAX_KEYS_PER_DELETE):
            batch = names[start : start + MAX_KEYS_PER_DELETE]
            with self._converting_errors():
                answer = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": batch, "Quiet": True}
                )
            for failure in answer.get("Errors", []):
                reason = failure.get("Message", failure["Code"])
                raise StorageError(f"{failure['Key']} could not be deleted: {reason}")

    def presign(self, key: str, expires_s: int) -> str:
        with self._converting_errors():
            return self._client.generate_presigned_url(
                "get_object", Params=self._address(key), ExpiresIn=expires_s
            )

    def open(self, key: str) -> S3File:
        return S3File(lambda span: self._get_range(key, span))

    def _fetch(self, key: str, path: Path) -> None:
        with self._converting_errors(key):
            self._client.download_file(
                **self._address(key), Filename=str(path), Config=self._transfer
            )

    def _get_range(self, key: str, span: str) -> tuple[bytes, int]:
        data, answer = self._get(key, Range=span)
        _, _, size = answer.get("ContentRange", "").partition("/")
        return data, int(size or len(data))  # without Content-Range it is the whole object

    def _get(self, key: str, **options: str) -> tuple[bytes, dict[str, Any]]:
        with self._converting_errors(key):
            try:
                return self._answer(key, options)
            except (HTTPClientError, IncompleteReadError):  # the connection broke in the body
                return self._answer(key, options)

    def _answer(self, key: str, options: Mapping[str, str]) -> tuple[bytes, dict[str, Any]]:
        try:
            answer = self._client.get_object(**self._address(key), **options)
        except ClientError as exc:
            status = exc.response["ResponseMetadata"]["HTTPStatusCode"]
            if status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            if not options["Range"].startswith("bytes=-"):
                raise
            # A range of last bytes fails for an empty object; on rclone, for any smaller object.
            answer = self._client.get_object(**self._address(key))
        return answer["Body"].read(), answer

    def _put(
        self,
        key: str,
        body: bytes | IO[bytes],
        conditions: Mapping[str, str],
        metadata: Mapping[str, str] | None,
        content_type: str,
    ) -> str:
        try:
            with self._converting_errors(key):
                answer = self._client.put_object(
                    **self._address(key),
                    Body=body,
                    Metadata=dict(metadata or {}),
                    ContentType=content_type,
                    **conditions,
                )
        except ObjectNotFound as exc:  # If-Match on a deleted object
            raise PreconditionFailed(f"{key} in {self.uri} was removed by another writer") from exc
        return _bare(answer["ETag"])

    def _put_in_parts(
        self, key: str, path: Path, metadata: Mapping[str, str] | None, content_type: str
    ) -> str:
        extra = {"Metadata": dict(metadata or {}), "ContentType": content_type}
        with self._converting_errors(key):
            self._client.upload_file(
                str(path), **self._address(key), ExtraArgs=extra, Config=self._transfer
            )
            return _bare(self._client.head_object(**self._address(key))["ETag"])

    def _list_pages(self, prefix: str) -> Iterator[ObjectInfo]:
        with self._converting_errors():
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix):
                for entry in page.get("Contents", []):
                    if entry["Key"].endswith("/"):  # a folder marker of some client
                        continue
                    yield ObjectInfo(
                        key=entry["Key"].removeprefix(self._prefix),
                        size_bytes=entry["Size"],
                        etag=_bare(entry["ETag"]),
                        modified=entry["LastModified"],
                    )

    def _address(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + checked_key(key)}

    def _converting_errors(self, key: str | None = None) -> Any:
        return converting_errors(
            uri=self.uri, bucket=self._bucket, endpoint=self._settings.s3_endpoint_url, key=key
        )


def _client_config(settings: Settings) -> Config:
    return Config(
        signature_version="s3v4",
        s3={"addressing_style": settings.s3_addressing_style},
        request_checksum_calculation=settings.s3_checksums,
        response_checksum_validation=settings.s3_checksums,
        retries={"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        max_pool_connections=MAX_CONNECTIONS,
    )


def _conditions(if_absent: bool, if_match: str | None) -> dict[str, str]:
    conditions = {"IfNoneMatch": "*"} if if_absent else {}
    return conditions | ({"IfMatch": f'"{if_match}"'} if if_match is not None else {})


def _bare(etag: str) -> str:
    return etag.strip('"')
