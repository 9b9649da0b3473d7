"""How long a client bears a store that does not answer: until a deadline, with growing, jittered
waits.

botocore's own retries count attempts, which together last seconds, and its threads share one small
quota of them.
"""

import random
import time
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ConnectionError, HTTPClientError, SSLError

BORNE_S = 45.0
"""For so long, counted for each request from its first failure, a store may be away."""
LONGEST_WAIT_S = 3.0
PASSING_STATUSES = frozenset({429, 500, 502, 503, 504})
PASSING_CODES = frozenset({"ConditionalRequestConflict", "OperationAborted"})
"""Of 409: another request for the same object is under way, and S3 asks for this one to be
repeated."""
_BEGAN = "nightshift_outage_began"


def bear_outages(client: Any) -> None:
    """From now on requests of this boto3 client are repeated until the store answers or the
    deadline has passed."""
    client.meta.events.register_last("needs-retry.s3", _wait_before_retry)


def _wait_before_retry(
    *,
    attempts: int,
    response: Any,
    caught_exception: Any,
    request_dict: Mapping[str, Any],
    **_: Any,
) -> float | None:
    """Answers botocore's question after an attempt: the seconds to wait before the next one, None
    for no further one.

    Asked after botocore's own retries, whose answer counts while they have any left.
    """
    if not _is_passing(response, caught_exception):
        return None
    now = time.monotonic()
    began = request_dict["context"].setdefault(_BEGAN, now)
    if now - began > BORNE_S:
        return None
    return _wait_s(attempts)


def _wait_s(attempts: int) -> float:
    return random.uniform(0, min(LONGEST_WAIT_S, 0.1 * 2**attempts))


def _is_passing(response: Any, caught_exception: Any) -> bool:
    if caught_exception is not None:
        is_network = isinstance(caught_exception, ConnectionError | HTTPClientError)
        return is_network and not isinstance(caught_exception, SSLError)
    if response is None:
        return False
    answer, parsed = response
    return (
        answer.status_code in PASSING_STATUSES
        or parsed.get("Error", {}).get("Code") in PASSING_CODES
    )
