import json
from dataclasses import replace

import pytest

from ppmproxy.access.daemon_identity import Key
from ppmproxy.auth.credential import Claims, Credential, Use
from ppmproxy.auth.secret import Secret
from ppmproxy.config.model import Upstream
from ppmproxy.credentials.lookup import LookupResult, NothingFound, SourceBroken, TokenRequest
from ppmproxy.server.state import PATIENCE, Metrics, RequestRecord, SignInPage, readiness, report, warnings

TOKEN = "s3cr3t-token-value"
NOW = 1_700_000_000.0
MARK_OF = Key(b"key").token_fingerprint
PM = Upstream(name="pm", url="https://pm.example.com/rspm", mount="/pm", configured=True)
OTHER = Upstream(name="other", url="https://other.example.com", mount="/other", configured=True)


def test_the_log_line_of_a_request_leaves_out_what_is_not_known():
    account = RequestRecord("GET", "/x", status=200, sent=7)

    assert account.fields(0.01234) == {"method": "GET", "path": "/x", "status": 200, "sent": 7, "ms": 12.3}


def test_the_log_line_of_a_failed_request_says_why_and_with_whose_token():
    account = RequestRecord("GET", "/x", "pm", "index", 407, "token-expired", "it has expired", "file /t", 120)

    assert account.fields(1.0) == {
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


def test_a_tally_counts_requests_bytes_statuses_and_failures():
    metrics = Metrics(started_at=0.0)

    for account in (
        RequestRecord("GET", "/a", status=200, sent=10),
        RequestRecord("GET", "/b", status=200, sent=5, code="client-left"),
        RequestRecord("GET", "/c", status=407, code="token-missing"),
        RequestRecord("GET", "/d", status=407, code="token-missing", sent=1),
    ):
        metrics.add(account)

    assert (metrics.requests, metrics.sent) == (4, 16)
    assert metrics.by_status == {200: 2, 407: 2}
    assert metrics.by_code == {"token-missing": 2}


@pytest.mark.parametrize(
    ("listening", "draining", "why"),
    [(False, False, "starting"), (True, False, ""), (True, True, "stopping"), (False, True, "stopping")],
)
def test_the_daemon_is_ready_from_listening_to_draining_and_says_why_not(listening, draining, why):
    said = readiness(Metrics(0.0, listening=listening, draining=draining), NOW)

    assert said.startswith(why)
    assert bool(said) is bool(why)
    assert "\n" not in said


def test_who_is_told_to_come_back_while_a_sign_in_is_waited_for_has_not_failed():
    metrics = Metrics(started_at=NOW)

    metrics.add(RequestRecord("GET", "/c", status=307, code="sign-in-needed"))
    metrics.add(RequestRecord("GET", "/c", status=407, code="sign-in-needed"))

    assert report(metrics, (PM,), "1", NOW, MARK_OF)["requests"]["errors"] == {"sign-in-needed": 1}


def test_the_report_shows_each_upstream_and_a_credential_by_source_expiry_and_scopes():
    metrics = Metrics(started_at=1_700_000_000.9, listening=True, in_flight=2)
    claims = Claims(expires_at=1_700_003_600.0, scopes=("repos:read",), subject="a@example.com")
    metrics.upstream_state("pm").lookup = LookupResult(
        replace(Credential.of_token(TOKEN, "file /t"), claims=claims), (NothingFound("variable X", "not set"),)
    )
    metrics.answered_at["pm"] = 1_700_000_010.0
    metrics.add(RequestRecord("GET", "/c", status=407, code="token-missing", sent=3))

    assert report(metrics, (PM, OTHER), "1.2.3", NOW, MARK_OF) == {
        "version": "1.2.3",
        "started_at": "2023-11-14T22:13:20+00:00",
        "ready": True,
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
            },
        ],
        "requests": {
            "total": 1,
            "in_flight": 2,
            "bytes_sent": 3,
            "by_status": {"407": 1},
            "errors": {"token-missing": 1},
        },
    }


@pytest.mark.parametrize("expires_at", [None, 0.0, 1e11, 1e18, -1e18, float("inf"), float("nan")])
def test_no_expiry_makes_the_report_fail_and_no_report_shows_the_token(expires_at):
    metrics = Metrics(started_at=0.0)
    credential = replace(Credential.of_token(TOKEN, "file /t"), claims=Claims(expires_at=expires_at))
    metrics.upstream_state("pm").lookup = LookupResult(credential)

    text = json.dumps(report(metrics, (PM,), "1", NOW, MARK_OF), allow_nan=False)

    assert TOKEN not in text
    assert json.loads(text)["ready"] is False
    assert TOKEN not in repr(metrics)


def test_a_token_that_was_refused_makes_the_daemon_unready_until_there_is_another_or_it_is_offered_again():
    metrics = Metrics(started_at=0.0, listening=True)
    refused = Credential.of_token(TOKEN, "file /t")
    skipped = (SourceBroken("file /t", "refused by the Package Manager a moment ago"),)

    metrics.upstream_state("pm").lookup = LookupResult(None, skipped, refused, retry_at=NOW + 5)
    before, once_it_has_rested = readiness(metrics, NOW), readiness(metrics, NOW + 5)
    metrics.upstream_state("pm").lookup = LookupResult(Credential.of_token("another", "file /t"))

    assert before == "pm: the token from file /t was refused"
    assert once_it_has_rested == ""
    assert readiness(metrics, NOW) == ""


def test_a_clock_that_was_set_back_does_not_make_the_daemon_unready_for_hours():
    metrics = listening()
    refused = Credential.of_token(TOKEN, "file /t")

    metrics.upstream_state("pm").lookup = LookupResult(None, (), refused, retry_at=NOW + 5)

    assert readiness(metrics, NOW - 36_000) == ""


def test_every_credential_in_use_is_shown_with_what_it_is_for():
    metrics = Metrics(started_at=0.0)
    reading, writing = Credential.of_token("r", "file /r"), Credential.of_token("w", "file /w")
    over = replace(reading, claims=Claims(expires_at=NOW - 1))
    metrics.upstream_state("pm").lookups = {
        TokenRequest(PM.url, "pypi"): LookupResult(reading),
        TokenRequest(PM.url, "internal"): LookupResult(reading),
        TokenRequest(PM.url, "internal", Use.UPLOAD): LookupResult(writing),
        TokenRequest(PM.url, "other"): LookupResult(None),
        TokenRequest(PM.url, "old"): LookupResult(over),
    }

    shown = report(metrics, (PM,), "1", NOW, MARK_OF)["upstreams"][0]["credentials"]

    assert [(one["source"], one["purposes"]) for one in shown] == [
        ("file /r", ["read internal", "read pypi"]),
        ("file /w", ["upload internal"]),
    ]


def test_a_renewal_that_failed_is_a_worry_and_no_reason_to_be_unready():
    metrics = Metrics(started_at=0.0, listening=True)
    metrics.upstream_state("pm").refresh_failures = ("identity token /t could not be renewed: no answer",)

    assert readiness(metrics, NOW) == ""
    assert warnings(metrics) == "pm: identity token /t could not be renewed: no answer"


def test_a_sign_in_that_waits_is_shown_with_its_page_and_code():
    metrics = Metrics(started_at=0.0)
    metrics.upstream_state("pm").sign_in = SignInPage("https://pm.example.com/device", "ABCD-EFGH")

    shown = report(metrics, (PM,), "1", NOW, MARK_OF)["upstreams"][0]["sign_in"]

    assert shown == {"page": "https://pm.example.com/device", "code": "ABCD-EFGH"}


# --- readiness and the upstream ---


def listening():
    return Metrics(0.0, listening=True)


def test_a_daemon_whom_nobody_asked_anything_is_ready_however_long_ago_the_upstream_was_seen():
    metrics = listening()
    metrics.record_success("pm", 0.0)

    assert readiness(metrics, 1e6) == ""
    assert warnings(metrics) == ""


def test_one_answer_that_did_not_come_is_a_worry_and_no_reason_to_be_unready():
    metrics = listening()
    metrics.record_failure("pm", 0.0, "no route to pm.example.com")

    assert readiness(metrics, PATIENCE - 1) == ""
    assert warnings(metrics) == "pm: no good answer since 1970-01-01T00:00:00+00:00: no route to pm.example.com"


def test_an_upstream_that_stays_silent_makes_the_daemon_unready_and_the_line_says_since_when_and_why():
    metrics = listening()
    metrics.record_failure("pm", 0.0, "connection refused")
    metrics.record_failure("pm", PATIENCE / 2, "no route to pm.example.com")

    assert (
        readiness(metrics, PATIENCE) == "pm: no good answer since 1970-01-01T00:00:00+00:00: no route to pm.example.com"
    )


def test_a_clock_that_was_set_back_does_not_hide_a_silence_for_hours():
    metrics = listening()
    metrics.record_failure("pm", 36_000.0, "connection refused")
    metrics.record_failure("pm", 0.0, "connection refused")

    assert readiness(metrics, PATIENCE)


def test_a_silence_is_shown_with_its_reason():
    metrics = listening()
    metrics.record_failure("pm", 0.0, "no route")
    metrics.record_failure("pm", 90.0, "connection refused")

    shown = report(metrics, (PM,), "1", NOW, MARK_OF)["upstreams"][0]

    assert shown["silent_since"] == "1970-01-01T00:00:00+00:00"
    assert shown["silent_until"] == "1970-01-01T00:01:30+00:00"
    assert shown["silent_why"] == "connection refused"


def test_one_answer_ends_a_silence():
    metrics = listening()
    metrics.record_failure("pm", 0.0, "connection refused")
    metrics.record_success("pm", PATIENCE + 1)
    metrics.record_failure("pm", PATIENCE + 2, "connection refused")

    assert readiness(metrics, PATIENCE + 3) == ""


# --- idleness ---


def test_a_daemon_is_idle_from_the_end_of_the_last_request():
    metrics = Metrics(0.0, used_at=100.0)

    assert metrics.idle_for(130.0) == 30.0


def test_a_daemon_with_a_request_under_way_is_not_idle_however_long_it_takes():
    metrics = Metrics(0.0, used_at=100.0, forwarding=1)

    assert metrics.idle_for(1e6) == 0.0
