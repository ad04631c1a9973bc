"""Claims about the status document: every upstream and credential is in it, and no token."""

import json
from dataclasses import replace

import pytest

from ppmproxy.access.identity_key import IdentityKey
from ppmproxy.auth.credential import Claims, Credential, Use
from ppmproxy.auth.secret import Secret
from ppmproxy.config.model import Upstream
from ppmproxy.credentials.lookup import LookupResult, NothingFound, TokenRequest
from ppmproxy.server.state import Snapshot, State
from ppmproxy.server.status_document import report
from ppmproxy.server.upstream_state import SignInPage, UpstreamSnapshot

TOKEN = "s3cr3t-token-value"
NOW = 1_700_000_000.0
MARK_OF = IdentityKey(b"key").token_fingerprint
PM = Upstream(name="pm", url="https://pm.example.com/rspm", mount="/pm", configured=True)
OTHER = Upstream(name="other", url="https://other.example.com", mount="/other", configured=True)


def of_upstream(**upstream):
    """A daemon that listens and whose upstream is in this state."""
    return Snapshot(0.0, is_listening=True, upstreams={"pm": UpstreamSnapshot(**upstream)})


def test_the_report_shows_each_upstream_and_a_credential_by_source_expiry_and_scopes():
    claims = Claims(expires_at=1_700_003_600.0, scopes=("repos:read",), subject="a@example.com")
    lookup = LookupResult(
        replace(Credential.of_secret(Secret(TOKEN), "file /t"), claims=claims), (NothingFound("variable X", "not set"),)
    )
    state = Snapshot(
        started_at=1_700_000_000.9,
        is_listening=True,
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


@pytest.mark.parametrize("expires_at", [None, 0.0, 1e11, 1e18, -1e18, float("inf"), float("nan")])
def test_no_expiry_makes_the_report_fail_and_no_report_shows_the_token(expires_at):
    credential = replace(Credential.of_secret(Secret(TOKEN), "file /t"), claims=Claims(expires_at=expires_at))
    state = of_upstream(lookup=LookupResult(credential))

    text = json.dumps(report(state, (PM,), "1", NOW, MARK_OF), allow_nan=False)

    assert TOKEN not in text
    assert json.loads(text)["ready"] is True
    assert TOKEN not in repr(state)


def test_every_credential_in_use_is_shown_with_its_purposes():
    reading, writing = Credential.of_secret(Secret("r"), "file /r"), Credential.of_secret(Secret("w"), "file /w")
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


def test_a_sign_in_under_way_is_shown_with_its_page_and_code():
    state = of_upstream(sign_in=SignInPage("https://pm.example.com/device", "ABCD-EFGH"))

    shown = report(state, (PM,), "1", NOW, MARK_OF)["upstreams"][0]["sign_in"]

    assert shown == {"page": "https://pm.example.com/device", "code": "ABCD-EFGH"}
