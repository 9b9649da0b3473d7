import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    ProfileNotFound,
)

from infra.errors import ObjectNotFound, PreconditionFailed, StorageAway, StorageError
from infra.storage.s3_errors import converting_errors


def converted(error: Exception, key: str | None = "the/key") -> StorageError:
    with (
        pytest.raises(StorageError) as caught,
        converting_errors(uri="s3://bucket/p", bucket="bucket", endpoint="http://host:1", key=key),
    ):
        raise error
    assert caught.value.__cause__ is error
    return caught.value


def answer(code: str, message: str = "said so", status: int = 400) -> ClientError:
    metadata = {"HTTPStatusCode": status}
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}, "PutObject"
    )


@pytest.mark.parametrize("code", ["412", "PreconditionFailed", "ConditionalRequestConflict"])
def test_a_lost_conditional_write_is_its_own_error(code: str) -> None:
    assert type(converted(answer(code))) is PreconditionFailed


def test_a_missing_key_is_not_a_missing_bucket() -> None:
    assert type(converted(answer("NoSuchKey"))) is ObjectNotFound
    assert "bucket 'bucket'" in str(converted(answer("NoSuchBucket")))
    assert "bucket 'bucket'" in str(converted(answer("404"), key=None))


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        ("SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        ("AccessDenied", "policy"),
        ("ExpiredToken", "expired"),
        ("PermanentRedirect", "NIGHTSHIFT_S3_REGION"),
        ("NotImplemented", "conditional writes"),
        ("SlowDown", "SlowDown"),
    ],
)
def test_each_refusal_says_where_to_look(code: str, hint: str) -> None:
    assert hint in str(converted(answer(code)))


@pytest.mark.parametrize(
    "error",
    [
        answer("SlowDown", status=503),
        answer("InternalError", status=500),
        EndpointConnectionError(endpoint_url="x"),
    ],
)
def test_an_outage_has_another_exit_status_than_a_refusal(error: Exception) -> None:
    away, refused = converted(error), converted(answer("AccessDenied", status=403))
    assert (type(away), away.exit_code) == (StorageAway, 1)
    assert (type(refused), refused.exit_code) == (StorageError, 2)


def test_each_connection_error_says_where_to_look() -> None:
    assert "NIGHTSHIFT_S3_ENDPOINT_URL" in str(
        converted(EndpointConnectionError(endpoint_url="http://host:1"))
    )
    assert "AWS_ACCESS_KEY_ID" in str(converted(NoCredentialsError()))
    assert "AWS_PROFILE" in str(converted(ProfileNotFound(profile="mine")))
