"""Claims about `activity`: which requests, minutes and latencies are kept, and for how long."""

import pytest

from ppmproxy.server.activity import (
    LATENCY_SPAN,
    LATENCY_SPANS,
    MAX_REQUESTS,
    MINUTES,
    Activity,
    Latency,
    Minute,
    client_of,
    project_of,
    recent,
)
from ppmproxy.server.request_record import RequestRecord
from ppmproxy.server.state import State

NOW = 1_700_000_000.0
WHOLE_MINUTE = NOW // 60 * 60


def record(path="/pypi/latest/simple/hello/", **more):
    return RequestRecord("GET", path, **{"upstream": "default", "kind": "index", "status": 200, **more})


def test_the_last_requests_are_kept_in_their_order_and_no_more():
    activity = Activity()

    for _ in range(MAX_REQUESTS + 50):
        activity.record(record(), NOW)

    numbers = [request.number for request in activity.snapshot().requests]
    assert numbers == list(range(51, MAX_REQUESTS + 51))


def test_a_request_is_kept_with_who_asked_for_what_and_how_it_ended():
    activity = Activity()

    activity.record(
        record(
            user_agent='pip/26.3 {"ci":null}',
            status=407,
            code="token-missing",
            detail="none",
            hint="sign in",
            seconds=0.5,
        ),
        NOW,
    )

    [request] = activity.snapshot().requests
    assert (request.client, request.project, request.status) == ("pip/26.3", "hello", 407)
    assert (request.code, request.detail, request.hint) == ("token-missing", "none", "sign in")
    assert (request.at, request.seconds, request.has_failed) == (NOW, 0.5, True)


def test_each_minute_of_the_last_hour_has_its_numbers():
    activity = Activity()

    activity.record(record(sent=10), WHOLE_MINUTE - 120)
    activity.record(record(sent=5), WHOLE_MINUTE)
    activity.record(record(status=407, code="token-missing"), WHOLE_MINUTE + 59)
    hour = activity.snapshot().hour(WHOLE_MINUTE + 59)

    assert len(hour) == MINUTES
    assert [(minute.requests, minute.failed, minute.sent) for minute in hour[-3:]] == [(1, 0, 10), (0, 0, 0), (2, 1, 5)]


def test_what_is_older_than_an_hour_is_gone():
    activity = Activity()

    for minute in range(MINUTES * 3):
        activity.record(record(), WHOLE_MINUTE + 60 * minute)
    snapshot = activity.snapshot()

    assert len(snapshot.minutes) <= MINUTES + 1
    assert sum(minute.requests for minute in snapshot.hour(WHOLE_MINUTE + 60 * (MINUTES * 3 - 1))) == MINUTES
    assert sum(minute.requests for minute in snapshot.hour(WHOLE_MINUTE + 60 * MINUTES * 9)) == 0


def test_a_clock_that_is_set_back_loses_no_request():
    activity = Activity()

    activity.record(record(), WHOLE_MINUTE)
    activity.record(record(), WHOLE_MINUTE - 3600)

    assert activity.snapshot().minutes == (Minute(int(WHOLE_MINUTE // 60), 2),)


def test_a_snapshot_of_the_activity_does_not_change():
    activity = Activity()
    activity.record(record(), NOW)
    before = activity.snapshot()

    activity.record(record(), NOW)

    assert (len(before.requests), before.minutes[-1].requests) == (1, 1)


def test_latency_is_kept_by_spans_for_a_quarter_of_an_hour():
    latency = Latency()

    for seconds in (0.1, 0.3):
        latency.record(seconds, NOW)
    latency.record(0.5, NOW + LATENCY_SPAN)
    shown = list(recent(latency.snapshot(), NOW + LATENCY_SPAN))

    assert [(span.answers, round(span.mean, 3), span.longest) for _, span in shown] == [(2, 0.2, 0.3), (1, 0.5, 0.5)]
    assert 0 < shown[0][0] < shown[1][0] < 1
    assert list(recent(latency.snapshot(), NOW + LATENCY_SPAN * (LATENCY_SPANS + 2))) == []


@pytest.mark.parametrize(
    ("path", "kind", "project"),
    [
        ("/pypi/latest/simple/hello/", "index", "hello"),
        ("/pypi/latest/simple/hello", "index", "hello"),
        ("/pypi/latest/simple/", "index", ""),
        ("/pypi/latest/packages/aa/hello_world-1.0-py3-none-any.whl", "file", "hello_world"),
        ("/pypi/latest/packages/aa/hello-world-1.0.tar.gz", "file", "hello-world"),
        ("/cran/latest/src/contrib/dplyr_1.1.4.tar.gz", "file", "dplyr"),
        ("/cran/latest/src/contrib/PACKAGES.gz", "file", "PACKAGES.gz"),
        ("/__api__/status", "api", ""),
        ("/", "other", ""),
        ("", "", ""),
    ],
)
def test_the_project_is_read_from_the_path(path, kind, project):
    assert project_of(path, kind) == project


@pytest.mark.parametrize(
    ("user_agent", "client"),
    [
        ("uv/0.13.9", "uv/0.13.9"),
        ('pip/26.3 {"ci":null}', "pip/26.3"),
        ("", ""),
        ("a\x1b[31m b", "a?[31m"),
        ("x" * 500, "x" * 60),
    ],
)
def test_the_client_is_the_first_word_of_its_user_agent(user_agent, client):
    assert client_of(user_agent) == client


# --- what is counted ---


@pytest.mark.parametrize(
    ("made", "is_counted"),
    [
        (record(), True),
        (record(status=0, is_cut=True, code="client-left"), True),
        (RequestRecord("GET", "/-/live", status=200), False),
        (RequestRecord("GET", "/-/ready", status=503), False),
        (RequestRecord("GET", "/-/", status=200), False),
        (RequestRecord("GET", "/-/page/events", status=200, code="client-left", is_cut=True), False),
        (RequestRecord("GET", "/", status=303), False),
        (RequestRecord("GET", "/-/status", status=403, code="forbidden-client"), True),
        (RequestRecord("GET", "/a%2fb", status=400, code="bad-target"), True),
        (RequestRecord("GET", "/-/files/default/x", "default", "file", 200), True),
    ],
)
def test_forwarded_requests_and_refusals_are_counted_and_own_pages_are_not(made, is_counted):
    state = State(0.0)

    state.record_request(made)

    assert state.snapshot().requests == len(state.snapshot().activity.requests) == int(is_counted)
