from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import EndpointConnectionError, SSLError
from botocore.hooks import HierarchicalEmitter

from infra.storage import s3_outages
from infra.storage.s3_outages import MAX_WAIT_S, retry_outages


def wait_after(status: int = 0, code: str = "", error: Exception | None = None) -> float | None:
    """How long a client waits after an attempt that ended like this; None if it gives up."""
    events = HierarchicalEmitter()
    retry_outages(SimpleNamespace(meta=SimpleNamespace(events=events)))
    answer: Any = (
        AWSResponse("http://host", status, {}, None),
        {"Error": {"Code": code}} if code else {},
    )
    (answered,) = events.emit(
        "needs-retry.s3.PutObject",
        attempts=1,
        response=None if error else answer,
        caught_exception=error,
        request_dict={"context": {}},
    )
    return answered[1]


@pytest.mark.parametrize(
    ("status", "code"),
    [(503, "SlowDown"), (500, ""), (409, "ConditionalRequestConflict"), (409, "OperationAborted")],
)
def test_a_transient_answer_is_retried(
    status: int, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = wait_after(status, code)
    assert waited is not None
    assert 0 <= waited <= MAX_WAIT_S
    monkeypatch.setattr(s3_outages, "MAX_OUTAGE_S", -1.0)
    assert wait_after(status, code) is None


@pytest.mark.parametrize(
    ("status", "code"),
    [(200, ""), (403, "AccessDenied"), (409, "BucketNotEmpty"), (412, "PreconditionFailed")],
)
def test_a_permanent_answer_is_not_retried(status: int, code: str) -> None:
    assert wait_after(status, code) is None


def test_a_missing_server_is_retried_and_a_wrong_certificate_is_not() -> None:
    assert wait_after(error=EndpointConnectionError(endpoint_url="http://host")) is not None
    assert wait_after(error=SSLError(endpoint_url="https://host", error="expired")) is None
