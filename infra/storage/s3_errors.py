"""Converts the errors of boto3 to ours, with messages that name the setting to check."""

from collections.abc import Iterator
from contextlib import contextmanager

from boto3.exceptions import Boto3Error
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSLError,
)

from infra.errors import (
    NightshiftError,
    ObjectNotFound,
    PreconditionFailed,
    StorageAway,
    StorageError,
)
from infra.storage.s3_outages import TRANSIENT_STATUSES

FAILED_CONDITION = {"409", "412", "PreconditionFailed", "ConditionalRequestConflict"}
NOT_FOUND = {"404", "NoSuchKey", "NotFound"}
CHECK_KEYS = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or the profile in AWS_PROFILE)"
MISSING_BUCKET = (
    "bucket {bucket!r} does not exist at {place}: create it, or check NIGHTSHIFT_STORAGE_URI"
)
UNKNOWN_KEY = "{place} does not know the access key: " + CHECK_KEYS
REFUSED_ACCESS = (
    "{place} refused access to {uri} ({reason}): " + CHECK_KEYS + " and the bucket's policy"
)
OTHER_REGION = "bucket {bucket!r} is in another region: check NIGHTSHIFT_S3_REGION ({reason})"
NO_CONDITIONS = (
    "{place} does not support a request ({reason}); it may not support conditional writes"
)
OTHER_CHECKSUM = (
    "does not match its checksum. If the store sends the checksum of the whole object with a part "
    "of it, as rclone does, set NIGHTSHIFT_S3_CHECKSUMS=when_required and write the object again"
)
OTHER_ANSWER = "{place} answered {code} for {uri}: {reason}"
MESSAGES = {
    "NoSuchBucket": MISSING_BUCKET,
    "InvalidAccessKeyId": UNKNOWN_KEY,
    "InvalidToken": UNKNOWN_KEY,
    "ExpiredToken": "the S3 credentials have expired: renew them",
    "SignatureDoesNotMatch": "{place} refused the signature; the secret key is wrong: "
    + CHECK_KEYS,
    "403": REFUSED_ACCESS,
    "AccessDenied": REFUSED_ACCESS,
    "301": OTHER_REGION,
    "PermanentRedirect": OTHER_REGION,
    "AuthorizationHeaderMalformed": OTHER_REGION,
    "501": NO_CONDITIONS,
    "NotImplemented": NO_CONDITIONS,
}


@contextmanager
def converting_errors(
    *, uri: str, bucket: str, endpoint: str | None, key: str | None
) -> Iterator[None]:
    """Converts all errors of boto3; `key` is the requested object, if there is one."""
    try:
        yield
    except NightshiftError:
        raise
    except ClientError as exc:
        raise _from_answer(exc, uri, bucket, endpoint, key) from exc
    except (NoCredentialsError, PartialCredentialsError) as exc:
        raise StorageError(
            f"no S3 credentials for {uri}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from exc
    except ProfileNotFound as exc:
        raise StorageError(f"{exc}: correct AWS_PROFILE, or unset it where keys are set") from exc
    except SSLError as exc:
        raise StorageError(f"no secure connection to {_place(endpoint)}: {exc}") from exc
    except FlexibleChecksumError as exc:
        raise StorageError(f"{key} in {uri} {OTHER_CHECKSUM}") from exc
    except (ConnectionError, HTTPClientError) as exc:
        raise StorageAway(
            f"no answer from {_place(endpoint)} for {uri}: check that it runs, and "
            f"NIGHTSHIFT_S3_ENDPOINT_URL ({exc})"
        ) from exc
    except (Boto3Error, BotoCoreError, ValueError) as exc:
        raise StorageError(f"{uri}: {exc}") from exc


def _from_answer(
    exc: ClientError, uri: str, bucket: str, endpoint: str | None, key: str | None
) -> StorageError:
    code = str(exc.response["Error"].get("Code", "unknown"))
    reason = exc.response["Error"].get("Message", code)
    if code in FAILED_CONDITION:
        return PreconditionFailed(f"{key} in {uri} was written by another writer first")
    if code in NOT_FOUND and key is not None:
        return ObjectNotFound(f"{key} is not in {uri}")
    template = MISSING_BUCKET if code in NOT_FOUND else MESSAGES.get(code, OTHER_ANSWER)
    message = template.format(
        place=_place(endpoint), bucket=bucket, uri=uri, code=code, reason=reason
    )
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return StorageAway(message) if status in TRANSIENT_STATUSES else StorageError(message)


def _place(endpoint: str | None) -> str:
    return endpoint or "AWS S3"
