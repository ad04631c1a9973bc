"""Claims about which failures may pass, and how long is waited before the next attempt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppmproxy.errors import (
    ConnectionRejectedError,
    NoConnectionError,
    UpstreamTimeoutError,
    UpstreamUnexpectedError,
    UpstreamUnreachableError,
    UpstreamUntrustedError,
)
from ppmproxy.upstream.retries import (
    DELAYS,
    LAST_ATTEMPT,
    NO_RETRIES,
    Moment,
    delay_after_error,
    delay_after_response,
    may_pass,
)

FIRST = Moment(attempts=1, seconds_left=10)


@pytest.mark.parametrize(
    ("status", "retry_after", "moment", "delay"),
    [
        (200, None, FIRST, None),
        (304, None, FIRST, None),
        (403, "1", FIRST, None),
        (404, None, FIRST, None),
        (408, None, FIRST, None),
        (500, None, FIRST, DELAYS[0]),
        (502, None, FIRST, DELAYS[0]),
        (503, None, Moment(2, 9), DELAYS[1]),
        (504, None, Moment(3, 7), DELAYS[2]),
        (503, None, Moment(4, 7), None),
        (503, None, Moment(3, 3), 3 - LAST_ATTEMPT),
        (503, None, Moment(1, LAST_ATTEMPT), None),
        (503, None, Moment(1, NO_RETRIES), None),
        (503, None, Moment(1, 10, jitter=1.0), DELAYS[0] * 1.2),
        (503, "4", FIRST, 4.0),
        (503, "4", Moment(4, 8), None),
        (503, "0", FIRST, DELAYS[0]),
        (503, "3600", FIRST, DELAYS[0]),
        (503, "Wed, 21 Oct 2099 07:28:00 GMT", FIRST, DELAYS[0]),
        (429, "Thu, 01 Jan 1970 00:01:03 GMT", Moment(1, 10, now=60), 3.0),
        (429, "Thursday, 01-Jan-70 00:01:03 GMT", Moment(1, 10, now=60), 3.0),
        (429, "Thu, 01 Jan 1970 00:00:30 GMT", Moment(1, 10, now=60), DELAYS[0]),
        (429, "Thu, 01 Jan 1970 00:02:00 GMT", Moment(1, 10, now=60), None),
        (429, "Thu, 01 Jan 1970 soon", Moment(1, 10, now=60), None),
        (429, "4", FIRST, 4.0),
        (429, "10", FIRST, None),
        (429, None, FIRST, None),
        (429, "-1", FIRST, None),
        (429, "\u0663", FIRST, None),
        (501, None, FIRST, None),
        (505, None, FIRST, None),
        (511, None, FIRST, None),
        (600, None, FIRST, None),
    ],
)
def test_a_response_is_the_answer_or_may_pass(status, retry_after, moment, delay):
    headers = {"Retry-After": retry_after} if retry_after is not None else {}

    found = delay_after_response(status, headers, moment) if may_pass(status) else None

    assert found == delay


def test_a_date_is_read_by_the_clock_of_the_server():
    headers = {"Retry-After": "Thu, 01 Jan 1970 00:01:03 GMT", "Date": "Thu, 01 Jan 1970 00:01:01 GMT"}

    assert delay_after_response(429, headers, Moment(1, 10, now=1_800_000_000)) == 2.0


@pytest.mark.parametrize(
    ("error", "delay"),
    [
        (UpstreamUnreachableError, DELAYS[0]),
        (NoConnectionError, None),
        (ConnectionRejectedError, None),
        (UpstreamUntrustedError, None),
        (UpstreamTimeoutError, None),
        (UpstreamUnexpectedError, None),
    ],
)
def test_only_a_connection_that_was_closed_without_a_head_may_pass(error, delay):
    assert delay_after_error(error("what"), FIRST) == delay


@given(
    st.sampled_from([429, 500, 503]),
    st.text(max_size=12) | st.integers(0, 10**9).map(str),
    st.builds(Moment, st.integers(1, 9), st.floats(-20, 20), st.floats(0, 1)),
)
def test_no_delay_reaches_beyond_the_deadline(status, retry_after, moment):
    delay = delay_after_response(status, {"Retry-After": retry_after}, moment)

    assert delay is None or 0 < delay <= moment.seconds_left - LAST_ATTEMPT


def test_the_last_attempt_comes_after_a_restart_of_seven_seconds():
    assert sum(DELAYS) > 7
