"""Which responses and failures may pass, and when a request is sent again; failures to connect are `reachability`'s."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ppmproxy.errors import NoConnectionError, UpstreamError
from ppmproxy.upstream.http_date import seconds_since_epoch

PATIENCE = 10.0  # seconds for which a GET or HEAD is tried, unless the caller says otherwise
NO_RETRIES = float("-inf")  # the deadline of a request that is sent once
DELAYS = (0.25, 2.0, 5.5)  # seconds before the second, third and fourth attempt; a restart takes about 7
JITTER = 0.2  # of a delay, at most, on top: many clients that failed together do not come back together
LAST_ATTEMPT = 0.5  # seconds before the deadline, so that its response is there in time

_LASTING = frozenset({501, 505, 511})  # not implemented, another version of HTTP, a captive portal
_TOO_MANY_REQUESTS = 429
_SERVER_ERRORS = range(500, 600)


@dataclass(frozen=True, slots=True)
class Moment:
    """The number of attempts of a request, and the time that is left."""

    attempts: int
    seconds_left: float
    jitter: float = 0.0  # 0 to 1
    now: float = 0.0  # seconds since the epoch


def may_pass(status: int) -> bool:
    """Whether a response with this status may be another one a few seconds later."""
    return status == _TOO_MANY_REQUESTS or (status in _SERVER_ERRORS and status not in _LASTING)


def delay_after_response(status: int, headers: Mapping[str, str], moment: Moment) -> float | None:
    """Seconds to wait before the next attempt after a response that may pass; None when it is the answer."""
    asked_for = _retry_after(headers, moment.now)
    is_unlimited = asked_for is None or asked_for > moment.seconds_left - LAST_ATTEMPT
    if status == _TOO_MANY_REQUESTS and is_unlimited:
        return None
    return _delay(moment, asked_for)


def delay_after_error(error: UpstreamError, moment: Moment) -> float | None:
    """The same after a failure."""
    return _delay(moment, None) if error.may_pass and not isinstance(error, NoConnectionError) else None


def _delay(moment: Moment, asked_for: float | None) -> float | None:
    left = moment.seconds_left - LAST_ATTEMPT
    if left <= 0 or moment.attempts > len(DELAYS):
        return None
    delay = DELAYS[moment.attempts - 1] * (1 + JITTER * moment.jitter)
    if asked_for is not None and 0 < asked_for <= left:
        delay = asked_for
    return min(delay, left)


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """The seconds of a ``Retry-After`` (RFC 9110 section 10.2.3); of a date, by the server's clock if that is known."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    until, sent_at = seconds_since_epoch(value), seconds_since_epoch(headers.get("Date", ""))
    return None if until is None else max(0.0, until - (now if sent_at is None else sent_at))
