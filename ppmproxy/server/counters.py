"""The counters behind the daemon's metrics: requests, their durations, errors and sign-ins, since the start.

Recording happens for every request, so it only adds to plain numbers; what Prometheus makes of them is in
`admin.metrics`. No label has more values than are listed here or named in the settings.
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from ppmproxy.errors import (
    NotPermittedError,
    PpmProxyError,
    SignInExpiredError,
    SignInNeededError,
    SignInRefusedError,
    TokenExpiredError,
    TokenMissingError,
    TokenRejectedError,
    UpstreamTimeoutError,
    UpstreamUnexpectedError,
    UpstreamUnreachableError,
    UpstreamUntrustedError,
)
from ppmproxy.server.request_record import RequestRecord

OTHER = 0  # stands for every status that HTTP does not know, and for a transfer that was cut
REFUSED = "refused"  # the kind of a request that was refused before its path was read
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)  # seconds
REASONS = tuple(  # of the errors that the upstream or the credential causes; pip gets some of them with status 200
    error.code
    for error in (
        *(TokenMissingError, TokenExpiredError, TokenRejectedError, SignInNeededError, NotPermittedError),
        *(UpstreamUnreachableError, UpstreamUntrustedError, UpstreamTimeoutError, UpstreamUnexpectedError),
    )
)

_STATUSES = frozenset(map(int, HTTPStatus))


class SignInResult(enum.Enum):
    """How a sign-in ended."""

    SUCCEEDED = "succeeded"
    REFUSED = "refused"  # by the person or the Package Manager
    EXPIRED = "expired"  # nobody confirmed it in time
    FAILED = "failed"  # any other error


def sign_in_result(error: PpmProxyError | None) -> SignInResult:
    """The result of a sign-in that ended with this error; None: without one."""
    if error is None:
        return SignInResult.SUCCEEDED
    if isinstance(error, SignInRefusedError):
        return SignInResult.REFUSED
    return SignInResult.EXPIRED if isinstance(error, SignInExpiredError) else SignInResult.FAILED


@dataclass(frozen=True, slots=True)
class CounterValues:
    """The counters at one moment."""

    requests: Mapping[tuple[str, str, int], int] = field(default_factory=dict)  # by upstream, kind and status
    durations: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)  # requests that took at most BOUNDS[i]; longer ones last
    seconds: float = 0.0  # all durations together
    upstream_errors: Mapping[str, int] = field(default_factory=dict)  # by reason
    sign_ins: Mapping[SignInResult, int] = field(default_factory=dict)


class Counters:
    """Counts; reasons and results that have not occurred are 0, so that Prometheus sees the first increase."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._durations = [0] * (len(BOUNDS) + 1)
        self._seconds = 0.0
        self._upstream_errors = dict.fromkeys(REASONS, 0)
        self._sign_ins = dict.fromkeys(SignInResult, 0)

    def values(self) -> CounterValues:
        """The counters as they are now."""
        return CounterValues(
            dict(self._requests),
            tuple(self._durations),
            self._seconds,
            dict(self._upstream_errors),
            dict(self._sign_ins),
        )

    def record_request(self, record: RequestRecord) -> None:
        """A request for an upstream, or a refused one, is over."""
        status = record.final_status
        self._requests[record.upstream, record.kind or REFUSED, status if status in _STATUSES else OTHER] += 1
        self._durations[bisect_left(BOUNDS, record.seconds)] += 1
        self._seconds += record.seconds
        if record.code in self._upstream_errors and record.has_failed:
            self._upstream_errors[record.code] += 1

    def record_sign_in(self, error: PpmProxyError | None) -> None:
        """A sign-in has ended, with this error or (None) with a token."""
        self._sign_ins[sign_in_result(error)] += 1
