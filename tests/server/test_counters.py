"""Claims about the counters: what is counted under which label, and that no label grows without end."""

import pytest

from ppmproxy.errors import (
    SignInExpiredError,
    SignInNotOfferedError,
    SignInRefusedError,
    TokenRejectedError,
    UpstreamUnreachableError,
)
from ppmproxy.server.counters import BOUNDS, OTHER, REASONS, Counters, SignInResult
from ppmproxy.server.request_record import CLIENT_LEFT, RequestRecord
from ppmproxy.server.state import State


def record(path="/pypi/latest/simple/a/", **fields):
    return RequestRecord("GET", path, **{"upstream": "pm", "kind": "index", "status": 200, **fields})


def counted(*records):
    counters = Counters()
    for one in records:
        counters.record_request(one)
    return counters.values()


def test_requests_are_counted_by_upstream_kind_and_status():
    values = counted(record(), record(), record(kind="file"), record(upstream="other", status=404))

    assert values.requests == {("pm", "index", 200): 2, ("pm", "file", 200): 1, ("other", "index", 404): 1}


def test_a_request_that_was_refused_before_its_path_was_read_has_a_kind_of_its_own():
    assert counted(record(upstream="", kind="", status=400)).requests == {("", "refused", 400): 1}


@pytest.mark.parametrize("unknown", [{"status": 299}, {"status": 999}, {"status": 0}, {"status": 200, "is_cut": True}])
def test_unknown_statuses_and_cut_transfers_are_counted_together(unknown):
    assert counted(record(**unknown)).requests == {("pm", "index", OTHER): 1}


def test_a_thousand_projects_and_statuses_make_no_more_labels():
    values = counted(*(record(path=f"/pypi/latest/simple/{number}/", status=number) for number in range(600, 1600)))

    assert values.requests == {("pm", "index", OTHER): 1000}


def test_durations_are_counted_up_to_each_bound():
    values = counted(record(seconds=0.0), record(seconds=BOUNDS[0]), record(seconds=0.006), record(seconds=1e6))

    assert values.durations == (2, 1, *(0 for _ in BOUNDS[2:]), 1)
    assert values.seconds == pytest.approx(1e6 + 0.011)


def test_errors_of_the_upstream_and_the_credential_are_counted_by_reason_also_where_pip_gets_200():
    values = counted(
        record(code=UpstreamUnreachableError.code, status=424),
        record(code=TokenRejectedError.code, status=200),
        record(code=TokenRejectedError.code, status=307),  # is to come back
        record(code=CLIENT_LEFT),
        record(code="uploads-off", status=403),
    )

    assert {reason: count for reason, count in values.upstream_errors.items() if count} == {
        "upstream-unreachable": 1,
        "token-rejected": 1,
    }
    assert set(values.upstream_errors) == set(REASONS)


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (None, SignInResult.SUCCEEDED),
        (SignInRefusedError("no"), SignInResult.REFUSED),
        (SignInExpiredError("late"), SignInResult.EXPIRED),
        (SignInNotOfferedError("none"), SignInResult.FAILED),
        (UpstreamUnreachableError("gone"), SignInResult.FAILED),
    ],
)
def test_sign_ins_are_counted_by_result(error, result):
    counters = Counters()

    counters.record_sign_in(error)

    assert {one for one, count in counters.values().sign_ins.items() if count} == {result}


@pytest.mark.parametrize(
    ("fields", "is_counted"),
    [
        ({"path": "/-/status"}, False),
        ({"path": "/-/ready", "status": 503}, False),
        ({"path": "/-/status", "status": 403, "code": "forbidden-client"}, True),  # refusals are
        ({"path": "/-/files/default/files.example.com/x", "upstream": "default"}, True),
        ({"path": "/pypi/"}, True),
    ],
)
def test_the_proxy_s_own_pages_are_not_counted(fields, is_counted):
    state = State(0.0)

    state.record_request(record(**{"upstream": "", **fields}))

    assert state.snapshot().requests == len(state.snapshot().counters.requests) == is_counted
