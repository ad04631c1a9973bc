import json
from dataclasses import replace

import pytest

from ppmproxy.credentials import Claims, Credential, NothingFound, Search, Secret, SourceBroken, Use, Wanted
from ppmproxy.identity_proof import Key
from ppmproxy.settings import Upstream
from ppmproxy.status import PATIENCE, Account, SignInPage, Tally, readiness, report, worries

TOKEN = "s3cr3t-token-value"
NOW = 1_700_000_000.0
MARK_OF = Key(b"key").mark_of
PM = Upstream(name="pm", url="https://pm.example.com/rspm", mount="/pm", configured=True)
OTHER = Upstream(name="other", url="https://other.example.com", mount="/other", configured=True)


def test_the_log_line_of_a_request_leaves_out_what_is_not_known():
    account = Account("GET", "/x", status=200, sent=7)

    assert account.fields(0.01234) == {"method": "GET", "path": "/x", "status": 200, "sent": 7, "ms": 12.3}


def test_the_log_line_of_a_failed_request_says_why_and_with_whose_token():
    account = Account("GET", "/x", "pm", "index", 407, "token-expired", "it has expired", "file /t", 120)

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
    assert Account("GET", "/x", status=status, code=code).has_failed is failed


def test_a_tally_counts_requests_bytes_statuses_and_failures():
    tally = Tally(started_at=0.0)

    for account in (
        Account("GET", "/a", status=200, sent=10),
        Account("GET", "/b", status=200, sent=5, code="client-left"),
        Account("GET", "/c", status=407, code="token-missing"),
        Account("GET", "/d", status=407, code="token-missing", sent=1),
    ):
        tally.add(account)

    assert (tally.requests, tally.sent) == (4, 16)
    assert tally.by_status == {200: 2, 407: 2}
    assert tally.by_code == {"token-missing": 2}


@pytest.mark.parametrize(
    ("listening", "draining", "why"),
    [(False, False, "starting"), (True, False, ""), (True, True, "stopping"), (False, True, "stopping")],
)
def test_the_daemon_is_ready_from_listening_to_draining_and_says_why_not(listening, draining, why):
    said = readiness(Tally(0.0, listening=listening, draining=draining), NOW)

    assert said.startswith(why)
    assert bool(said) is bool(why)
    assert "\n" not in said


def test_who_is_told_to_come_back_while_a_sign_in_is_waited_for_has_not_failed():
    tally = Tally(started_at=NOW)

    tally.add(Account("GET", "/c", status=307, code="sign-in-needed"))
    tally.add(Account("GET", "/c", status=407, code="sign-in-needed"))

    assert report(tally, (PM,), "1", NOW, MARK_OF)["requests"]["errors"] == {"sign-in-needed": 1}


def test_the_report_shows_each_upstream_and_a_credential_by_source_expiry_and_scopes():
    tally = Tally(started_at=1_700_000_000.9, listening=True, in_flight=2)
    claims = Claims(expires_at=1_700_003_600.0, scopes=("repos:read",), subject="a@example.com")
    tally.standing("pm").search = Search(
        replace(Credential.of_token(TOKEN, "file /t"), claims=claims), (NothingFound("variable X", "not set"),)
    )
    tally.answered_at["pm"] = 1_700_000_010.0
    tally.add(Account("GET", "/c", status=407, code="token-missing", sent=3))

    assert report(tally, (PM, OTHER), "1.2.3", NOW, MARK_OF) == {
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
    tally = Tally(started_at=0.0)
    credential = replace(Credential.of_token(TOKEN, "file /t"), claims=Claims(expires_at=expires_at))
    tally.standing("pm").search = Search(credential)

    text = json.dumps(report(tally, (PM,), "1", NOW, MARK_OF), allow_nan=False)

    assert TOKEN not in text
    assert json.loads(text)["ready"] is False
    assert TOKEN not in repr(tally)


def test_a_token_that_was_refused_makes_the_daemon_unready_until_there_is_another_or_it_is_offered_again():
    tally = Tally(started_at=0.0, listening=True)
    refused = Credential.of_token(TOKEN, "file /t")
    passed_over = (SourceBroken("file /t", "refused by the Package Manager a moment ago"),)

    tally.standing("pm").search = Search(None, passed_over, refused, rests_until=NOW + 5)
    before, once_it_has_rested = readiness(tally, NOW), readiness(tally, NOW + 5)
    tally.standing("pm").search = Search(Credential.of_token("another", "file /t"))

    assert before == "pm: the token from file /t was refused"
    assert once_it_has_rested == ""
    assert readiness(tally, NOW) == ""


def test_a_clock_that_was_set_back_does_not_make_the_daemon_unready_for_hours():
    tally = listening()
    refused = Credential.of_token(TOKEN, "file /t")

    tally.standing("pm").search = Search(None, (), refused, rests_until=NOW + 5)

    assert readiness(tally, NOW - 36_000) == ""


def test_every_credential_in_use_is_shown_with_what_it_is_for():
    tally = Tally(started_at=0.0)
    reading, writing = Credential.of_token("r", "file /r"), Credential.of_token("w", "file /w")
    over = replace(reading, claims=Claims(expires_at=NOW - 1))
    tally.standing("pm").searches = {
        Wanted(PM.url, "pypi"): Search(reading),
        Wanted(PM.url, "internal"): Search(reading),
        Wanted(PM.url, "internal", Use.UPLOAD): Search(writing),
        Wanted(PM.url, "other"): Search(None),
        Wanted(PM.url, "old"): Search(over),
    }

    shown = report(tally, (PM,), "1", NOW, MARK_OF)["upstreams"][0]["credentials"]

    assert [(one["source"], one["purposes"]) for one in shown] == [
        ("file /r", ["read internal", "read pypi"]),
        ("file /w", ["upload internal"]),
    ]


def test_a_renewal_that_failed_is_a_worry_and_no_reason_to_be_unready():
    tally = Tally(started_at=0.0, listening=True)
    tally.standing("pm").troubles = ("identity token /t could not be renewed: no answer",)

    assert readiness(tally, NOW) == ""
    assert worries(tally) == "pm: identity token /t could not be renewed: no answer"


def test_a_sign_in_that_waits_is_shown_with_its_page_and_code():
    tally = Tally(started_at=0.0)
    tally.standing("pm").sign_in = SignInPage("https://pm.example.com/device", "ABCD-EFGH")

    shown = report(tally, (PM,), "1", NOW, MARK_OF)["upstreams"][0]["sign_in"]

    assert shown == {"page": "https://pm.example.com/device", "code": "ABCD-EFGH"}


# --- readiness and the upstream ---


def listening():
    return Tally(0.0, listening=True)


def test_a_daemon_whom_nobody_asked_anything_is_ready_however_long_ago_the_upstream_was_seen():
    tally = listening()
    tally.heard("pm", 0.0)

    assert readiness(tally, 1e6) == ""
    assert worries(tally) == ""


def test_one_answer_that_did_not_come_is_a_worry_and_no_reason_to_be_unready():
    tally = listening()
    tally.missed("pm", 0.0, "no route to pm.example.com")

    assert readiness(tally, PATIENCE - 1) == ""
    assert worries(tally) == "pm: no good answer since 1970-01-01T00:00:00+00:00: no route to pm.example.com"


def test_an_upstream_that_stays_silent_makes_the_daemon_unready_and_the_line_says_since_when_and_why():
    tally = listening()
    tally.missed("pm", 0.0, "connection refused")
    tally.missed("pm", PATIENCE / 2, "no route to pm.example.com")

    assert (
        readiness(tally, PATIENCE) == "pm: no good answer since 1970-01-01T00:00:00+00:00: no route to pm.example.com"
    )


def test_a_clock_that_was_set_back_does_not_hide_a_silence_for_hours():
    tally = listening()
    tally.missed("pm", 36_000.0, "connection refused")
    tally.missed("pm", 0.0, "connection refused")

    assert readiness(tally, PATIENCE)


def test_a_silence_is_shown_with_its_reason():
    tally = listening()
    tally.missed("pm", 0.0, "no route")
    tally.missed("pm", 90.0, "connection refused")

    shown = report(tally, (PM,), "1", NOW, MARK_OF)["upstreams"][0]

    assert shown["silent_since"] == "1970-01-01T00:00:00+00:00"
    assert shown["silent_until"] == "1970-01-01T00:01:30+00:00"
    assert shown["silent_why"] == "connection refused"


def test_one_answer_ends_a_silence():
    tally = listening()
    tally.missed("pm", 0.0, "connection refused")
    tally.heard("pm", PATIENCE + 1)
    tally.missed("pm", PATIENCE + 2, "connection refused")

    assert readiness(tally, PATIENCE + 3) == ""


# --- idleness ---


def test_a_daemon_is_idle_from_the_end_of_the_last_request():
    tally = Tally(0.0, used_at=100.0)

    assert tally.idle_for(130.0) == 30.0


def test_a_daemon_with_a_request_under_way_is_not_idle_however_long_it_takes():
    tally = Tally(0.0, used_at=100.0, forwarding=1)

    assert tally.idle_for(1e6) == 0.0
