"""Claims about the state of the daemon: what is counted, and whether it is ready."""

import pytest

from ppmproxy.access.identity_key import IdentityKey
from ppmproxy.config.model import Upstream
from ppmproxy.server.request_record import CACHE_RESULTS, RequestRecord
from ppmproxy.server.state import MAX_SILENCE, Snapshot, State, unready_reason, warnings
from ppmproxy.server.status_document import report

NOW = 1_700_000_000.0
MARK_OF = IdentityKey(b"key").token_fingerprint
PM = Upstream(name="pm", url="https://pm.example.com/rspm", mount="/pm", configured=True)


@pytest.mark.parametrize(
    ("said", "result"),
    [
        ("", ""),
        ("hit", "hit"),
        ("hit; detail=upstream-down", "stale"),
        ("hit; detail=offline", "offline"),
        ("hit; detail=shared", "shared"),
        ("fwd=stale; fwd-status=304", "revalidated"),
        ("fwd=stale; fwd-status=200; stored", "miss"),
        ("fwd=uri-miss; stored", "miss"),
        ("fwd=request; collapsed", "miss"),
        ("fwd=bypass", "bypass"),
    ],
)
def test_what_the_cache_did_is_one_word_and_counted_where_it_was_asked(said, result):
    record, state = RequestRecord("GET", "/x", "pm", "index", 200, cache=said), State(0.0)

    state.record_request(record)

    assert record.cache_result == result
    assert state.snapshot().by_cache == ({result: 1} if result else {})
    assert result in {"", *CACHE_RESULTS}


def test_requests_bytes_statuses_and_failures_are_counted():
    state = State(started_at=0.0)

    for record in (
        RequestRecord("GET", "/a", status=200, sent=10),
        RequestRecord("GET", "/b", status=200, sent=5, code="client-left"),
        RequestRecord("GET", "/c", status=407, code="token-missing"),
        RequestRecord("GET", "/d", status=407, code="token-missing", sent=1),
    ):
        state.record_request(record)

    counted = state.snapshot()
    assert (counted.requests, counted.sent) == (4, 16)
    assert counted.by_status == {200: 2, 407: 2}
    assert counted.by_code == {"token-missing": 2}


def test_a_request_is_in_flight_from_its_start_to_its_end():
    state = State(started_at=0.0)

    state.record_start()
    during = state.snapshot()
    state.record_end(RequestRecord("GET", "/a", status=200))

    assert (during.in_flight, during.requests) == (1, 0)
    assert (state.snapshot().in_flight, state.snapshot().requests) == (0, 1)


def test_a_snapshot_does_not_change_with_the_state():
    state = listening()
    before = state.snapshot()

    state.record_request(RequestRecord("GET", "/a", status=200))
    state.upstream("pm").record_failure(NOW, "no route")

    assert (before.requests, before.by_status, before.upstream("pm").outage) == (0, {}, None)


@pytest.mark.parametrize(
    ("listening", "draining", "why"),
    [(False, False, "starting"), (True, False, ""), (True, True, "stopping"), (False, True, "stopping")],
)
def test_the_daemon_is_ready_from_listening_to_draining_and_says_why_not(listening, draining, why):
    said = unready_reason(Snapshot(0.0, is_listening=listening, is_draining=draining), NOW)

    assert said.startswith(why)
    assert bool(said) is bool(why)
    assert "\n" not in said


def test_a_request_that_is_sent_round_for_a_sign_in_has_not_failed():
    state = State(started_at=NOW)

    state.record_request(RequestRecord("GET", "/c", status=307, code="sign-in-needed"))
    state.record_request(RequestRecord("GET", "/c", status=407, code="sign-in-needed"))

    assert report(state.snapshot(), (PM,), "1", NOW, MARK_OF)["requests"]["errors"] == {"sign-in-needed": 1}


# --- readiness and the upstream ---


def listening():
    state = State(0.0)
    state.record_listening()
    return state


def after(*recorded):
    """The state after these answers (at a time) and failures (at a time, with a reason) of the upstream."""
    state = listening()
    for at, *why in recorded:
        upstream = state.upstream("pm")
        upstream.record_failure(at, *why) if why else upstream.record_success(at)
    return state.snapshot()


def test_a_daemon_without_requests_stays_ready():
    state = after((0.0,))

    assert unready_reason(state, 1e6) == ""
    assert warnings(state, NOW) == ""


def test_one_answer_that_did_not_come_is_a_warning_and_no_reason_to_be_unready():
    state = after((0.0, "no route to pm.example.com"))

    assert unready_reason(state, MAX_SILENCE - 1) == ""
    assert warnings(state, NOW) == "pm: no good answer since 1970-01-01T00:00:00+00:00: no route to pm.example.com"


def test_an_upstream_that_stays_silent_makes_the_daemon_unready_and_the_line_says_since_when_and_why():
    state = after((0.0, "connection refused"), (MAX_SILENCE / 2, "no route to pm.example.com"))

    why = "pm: no good answer since 1970-01-01T00:00:00+00:00: no route to pm.example.com"
    assert unready_reason(state, MAX_SILENCE) == why


def test_a_clock_that_was_set_back_does_not_hide_an_outage_for_hours():
    state = after((36_000.0, "connection refused"), (0.0, "connection refused"))

    assert unready_reason(state, MAX_SILENCE)


def test_an_outage_is_shown_with_its_reason():
    state = after((0.0, "no route"), (90.0, "connection refused"))

    shown = report(state, (PM,), "1", NOW, MARK_OF)["upstreams"][0]

    assert shown["silent_since"] == "1970-01-01T00:00:00+00:00"
    assert shown["silent_until"] == "1970-01-01T00:01:30+00:00"
    assert shown["silent_why"] == "connection refused"


def test_one_answer_ends_an_outage():
    state = after((0.0, "connection refused"), (MAX_SILENCE + 1,), (MAX_SILENCE + 2, "connection refused"))

    assert unready_reason(state, MAX_SILENCE + 3) == ""


# --- idleness ---


def test_a_daemon_is_idle_from_the_end_of_the_last_request():
    assert Snapshot(0.0, used_at=100.0).idle_for(130.0) == 30.0


def test_a_daemon_with_a_request_under_way_is_not_idle_however_long_it_takes():
    assert Snapshot(0.0, used_at=100.0, forwarding=1).idle_for(1e6) == 0.0
