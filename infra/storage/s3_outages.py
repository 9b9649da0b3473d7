"""Retries S3 requests through an outage: until a deadline, with growing waits and jitter.

botocore's own retries are not enough: they last seconds, and all threads share a small quota.
"""

import random
import time
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ConnectionError, HTTPClientError, SSLError

MAX_OUTAGE_S = 45.0
"""How long each request is retried, from its first failure."""
MAX_WAIT_S = 3.0
TRANSIENT_STATUSES = frozenset({429, 500, 502, 503, 504})
TRANSIENT_CODES = frozenset({"ConditionalRequestConflict", "OperationAborted"})
"""Codes of status 409: another request for the same object is in progress, and S3 asks for a
retry."""
_BEGAN = "nightshift_outage_began"


def retry_outages(client: Any) -> None:
    """Makes this boto3 client retry its requests until the store answers or a deadline passes."""
    client.meta.events.register_last("needs-retry.s3", _wait_before_retry)


def _wait_before_retry(
    *,
    attempts: int,
    response: Any,
    caught_exception: Any,
    request_dict: Mapping[str, Any],
    **_: Any,
) -> float | None:
    """The seconds to wait before another attempt; None for no further attempt.

    botocore calls it after each attempt. botocore's own retries take precedence while any are left.
    """
    if not _is_transient(response, caught_exception):
        return None
    now = time.monotonic()
    began = request_dict["context"].setdefault(_BEGAN, now)
    if now - began > MAX_OUTAGE_S:
        return None
    return _wait_s(attempts)


def _wait_s(attempts: int) -> float:
    return random.uniform(0, min(MAX_WAIT_S, 0.1 * 2**attempts))


def _is_transient(response: Any, caught_exception: Any) -> bool:
    if caught_exception is not None:
        is_network = isinstance(caught_exception, ConnectionError | HTTPClientError)
        return is_network and not isinstance(caught_exception, SSLError)
    if response is None:
        return False
    answer, parsed = response
    return (
        answer.status_code in TRANSIENT_STATUSES
        or parsed.get("Error", {}).get("Code") in TRANSIENT_CODES
    )
