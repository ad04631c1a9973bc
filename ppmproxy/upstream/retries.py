"""Which failures of a request to the Package Manager may pass, and when it is sent again."""

from __future__ import annotations

from ppmproxy.errors import UpstreamError
from ppmproxy.upstream.messages import UpstreamRequest

DELAYS = (0.1, 0.5)  # seconds before the second and the third attempt, with up to as much again in jitter
MAX_FAILURE_TIME = 2.0  # seconds; pip gives up after 15, and then it shows no reason

_PASSING_STATUSES = frozenset({502, 503, 504})


def retry_delays(request: UpstreamRequest) -> tuple[float, ...]:
    """Seconds to wait before each further attempt."""
    return DELAYS if request.is_repeatable else ()


def may_pass(failure: UpstreamError | int, seconds: float) -> bool:
    """Whether another attempt may succeed after an error, or a response's status, that took so many seconds."""
    is_passing = failure in _PASSING_STATUSES if isinstance(failure, int) else failure.may_pass
    return is_passing and seconds <= MAX_FAILURE_TIME
