import json
from dataclasses import replace

import pytest

from ppmproxy.access.daemon_identity import IdentityKey
from ppmproxy.auth.credential import Claims, Credential, Use
from ppmproxy.auth.secret import Secret
from ppmproxy.config.model import Upstream
from ppmproxy.credentials.lookup import LookupResult, NothingFound, SourceBroken, TokenRequest
from ppmproxy.server.request_record import CACHE_RESULTS, RequestRecord
from ppmproxy.server.state import MAX_SILENCE, SignInPage, Snapshot, State, UpstreamSnapshot, unready_reason, warnings
from ppmproxy.server.status_document import report

TOKEN = "s3cr3t-token-value"
NOW = 1_700_000_000.0
MARK_OF = IdentityKey(b"key").token_fingerprint
PM = Upstream(name="pm", url="https://pm.example.com/rspm", mount="/pm", configured=True)
READ_PYPI = TokenRequest(PM.url, "pypi")
OTHER = Upstream(name="other", url="https://other.example.com", mount="/other", configured=True)


def test_the_log_line_of_a_request_leaves_out_unknown_fields():
    record = RequestRecord("GET", "/x", status=200, sent=7)

    assert record.fields(0.01234) == {"method": "GET", "path": "/x", "status": 200, "sent": 7, "ms": 12.3}


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


def test_the_log_line_of_a_failed_request_has_the_reason_and_the_credential_s_source():
    record = RequestRecord("GET", "/x", "pm", "index", 407, "token-expired", "it has expired", "file /t", 120)

    assert record.fields(1.0) == {
        "method": "GET",
        "path": "/x",
        "status": 407,
        "upstream": "pm",
        "kind": "index",
        "code": "token-expired",
        "detail": "it has expired",
        "source": "file /t",
        "sent": 120,
        "ms": 1000.0,
    }


@pytest.mark.parametrize(
    ("status", "code", "failed"),
    [
        (200, "", False),
        (404, "", False),
        (429, "", True),
        (200, "client-left", False),
        (307, "sign-in-needed", False),
        (407, "sign-in-needed", True),
        (200, "upstream-unreachable", True),
        (502, "upstream-unreachable", True),
    ],
)
def test_a_request_has_failed_unless_its_client_left_or_is_to_come_back(status, code, failed):
    assert RequestRecord("GET", "/x", status=status, code=code).has_failed is failed


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
    said = unready_reason(Snapshot(0.0, listening=listening, draining=draining), NOW)

    assert said.startswith(why)
    assert bool(said) is bool(why)
    assert "\n" not in said


def test_a_request_that_is_sent_round_for_a_sign_in_has_not_failed():
    state = State(started_at=NOW)

    state.record_request(RequestRecord("GET", "/c", status=307, code="sign-in-needed"))
    state.record_request(RequestRecord("GET", "/c", status=407, code="sign-in-needed"))

    assert report(state.snapshot(), (PM,), "1", NOW, MARK_OF)["requests"]["errors"] == {"sign-in-needed": 1}


def test_the_report_shows_each_upstream_and_a_credential_by_source_expiry_and_scopes():
    claims = Claims(expires_at=1_700_003_600.0, scopes=("repos:read",), subject="a@example.com")
    lookup = LookupResult(
        replace(Credential.of_token(TOKEN, "file /t"), claims=claims), (NothingFound("variable X", "not set"),)
    )
    state = Snapshot(
        started_at=1_700_000_000.9,
        listening=True,
        in_flight=2,
        requests=1,
        sent=3,
        by_status={407: 1},
        by_code={"token-missing": 1},
        upstreams={"pm": UpstreamSnapshot(lookup, answered_at=1_700_000_010.0)},
    )

    assert report(state, (PM, OTHER), "1.2.3", NOW, MARK_OF) == {
        "version": "1.2.3",
        "started_at": "2023-11-14T22:13:20+00:00",
        "ready": True,
        "draining": False,
        "upstreams": [
            {
                "name": "pm",
                "url": "https://pm.example.com/rspm",
                "mount": "/pm",
                "uploads": False,
                "credential": {
                    "source": "file /t",
                    "expires_at": "2023-11-14T23:13:20+00:00",
                    "scopes": ["repos:read"],
                    "remarks": [],
                    "mark": MARK_OF(Secret(TOKEN)),
                },
                "credentials": [],
                "passed_over": {"variable X": "not set"},
                "troubles": [],
                "sign_in": None,
                "last_answer_at": "2023-11-14T22:13:30+00:00",
                "silent_since": None,
                "silent_until": None,
                "silent_why": "",
                "downloads": {"under_way": 0, "waiting": 0},
            },
            {
                "name": "other",
                "url": "https://other.example.com",
                "mount": "/other",
                "uploads": False,
                "credential": None,
                "credentials": [],
                "passed_over": {},
                "troubles": [],
                "sign_in": None,
                "last_answer_at": None,
                "silent_since": None,
                "silent_until": None,
                "silent_why": "",
                "downloads": {"under_way": 0, "waiting": 0},
            },
        ],
        "requests": {
            "total": 1,
            "failed": 0,
            "in_flight": 2,
            "bytes_sent": 3,
            "by_status": {"407": 1},
            "errors": {"token-missing": 1},
        },
    }


def of_upstream(**upstream):
    """A daemon that listens and whose upstream is in this state."""
    return Snapshot(0.0, listening=True, upstreams={"pm": UpstreamSnapshot(**upstream)})


@pytest.mark.parametrize("expires_at", [None, 0.0, 1e11, 1e18, -1e18, float("inf"), float("nan")])
def test_no_expiry_makes_the_report_fail_and_no_report_shows_the_token(expires_at):
    credential = replace(Credential.of_token(TOKEN, "file /t"), claims=Claims(expires_at=expires_at))
    state = of_upstream(lookup=LookupResult(credential))

    text = json.dumps(report(state, (PM,), "1", NOW, MARK_OF), allow_nan=False)

    assert TOKEN not in text
    assert json.loads(text)["ready"] is True
    assert TOKEN not in repr(state)


def test_a_rejected_token_makes_the_daemon_unready_until_there_is_another_or_it_is_offered_again():
    rejected = Credential.of_token(TOKEN, "file /t")
    skipped = (SourceBroken("file /t", "refused by the Package Manager a moment ago"),)

    before = of_upstream(lookups={READ_PYPI: LookupResult(None, skipped, rejected, retry_at=NOW + 5)})
    after = of_upstream(lookups={READ_PYPI: LookupResult(Credential.of_token("another", "file /t"))})

    assert unready_reason(before, NOW) == "pm: the token from file /t was refused"
    assert unready_reason(before, NOW + 5) == ""
    assert unready_reason(after, NOW) == ""


def test_a_clock_that_was_set_back_does_not_make_the_daemon_unready_for_hours():
    rejected = Credential.of_token(TOKEN, "file /t")

    state = of_upstream(lookups={READ_PYPI: LookupResult(None, (), rejected, retry_at=NOW + 5)})

    assert unready_reason(state, NOW - 36_000) == ""


@pytest.mark.parametrize(
    ("token_request", "warning"),
    [
        (TokenRequest(PM.url, "internal"), "pm: the token from file /t was refused for read internal"),
        (TokenRequest(PM.url, "pypi", Use.UPLOAD), "pm: the token from file /t was refused for upload pypi"),
        (TokenRequest(PM.url), "pm: the token from file /t was refused for read"),
    ],
)
def test_a_token_rejected_for_another_purpose_is_a_warning_and_no_reason_to_be_unready(token_request, warning):
    rejected = LookupResult(None, (), Credential.of_token(TOKEN, "file /t"), retry_at=NOW + 5)

    state = of_upstream(lookup=rejected, lookups={token_request: rejected})

    assert unready_reason(state, NOW) == ""
    assert warnings(state, NOW) == warning
    assert warnings(state, NOW + 5) == ""


def test_many_requests_for_other_repositories_do_not_hide_the_default_one():
    rejected = LookupResult(None, (), Credential.of_token(TOKEN, "file /t"), retry_at=NOW + 5)
    state = listening()

    state.upstream("pm").record_lookup(READ_PYPI, rejected, ())
    for number in range(100):
        state.upstream("pm").record_lookup(TokenRequest(PM.url, f"repo-{number}"), LookupResult(None), ())

    assert unready_reason(state.snapshot(), NOW) == "pm: the token from file /t was refused"
    assert len(state.snapshot().upstream("pm").lookups) <= 20


def test_every_credential_in_use_is_shown_with_its_purposes():
    reading, writing = Credential.of_token("r", "file /r"), Credential.of_token("w", "file /w")
    over = replace(reading, claims=Claims(expires_at=NOW - 1))
    state = State(0.0)
    for token_request, credential in {
        TokenRequest(PM.url, "pypi"): reading,
        TokenRequest(PM.url, "internal"): reading,
        TokenRequest(PM.url, "internal", Use.UPLOAD): writing,
        TokenRequest(PM.url, "other"): None,
        TokenRequest(PM.url, "old"): over,
    }.items():
        state.upstream("pm").record_lookup(token_request, LookupResult(credential), ())

    shown = report(state.snapshot(), (PM,), "1", NOW, MARK_OF)["upstreams"][0]["credentials"]

    assert [(one["source"], one["purposes"]) for one in shown] == [
        ("file /r", ["read internal", "read pypi"]),
        ("file /w", ["upload internal"]),
    ]


def test_a_renewal_that_failed_is_a_warning_and_no_reason_to_be_unready():
    state = of_upstream(source_warnings=("identity token /t could not be renewed: no answer",))

    assert unready_reason(state, NOW) == ""
    assert warnings(state, NOW) == "pm: identity token /t could not be renewed: no answer"


def test_a_sign_in_under_way_is_shown_with_its_page_and_code():
    state = of_upstream(sign_in=SignInPage("https://pm.example.com/device", "ABCD-EFGH"))

    shown = report(state, (PM,), "1", NOW, MARK_OF)["upstreams"][0]["sign_in"]

    assert shown == {"page": "https://pm.example.com/device", "code": "ABCD-EFGH"}


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
