"""Claims about the findings: what the daemon sees to be wrong is said with what to do, and nothing else."""

import pytest

from ppmproxy.auth.credential import Claims, Credential
from ppmproxy.auth.secret import Secret
from ppmproxy.config.model import Upstream
from ppmproxy.credentials.lookup import LookupResult, NothingFound, SourceBroken, TokenRequest
from ppmproxy.server.admin.findings import findings_of
from ppmproxy.server.admin.view import CacheView, UpstreamView, View
from ppmproxy.server.state import Snapshot
from ppmproxy.server.upstream_state import Outage, SignInEnd, SignInPage, UpstreamSnapshot

NOW = 1_700_000_000.0
PM = Upstream("pm", "https://pm.test", configured=True)
FILE = "/home/me/.ppm/tokens.toml"
READ = TokenRequest(PM.url, "pypi")


def token(expires_in=None, **more):
    claims = Claims(expires_at=None if expires_in is None else NOW + expires_in)
    return Credential(Secret("x" * 20), FILE, claims, **more)


def found(*, stored_in=FILE, upstream=PM, kept=True, draining=False, cache=None, **state):
    one = UpstreamView(upstream, UpstreamSnapshot(**state), stored_in)
    access = {"rule": "same-user", "kept": kept, "why_not": "" if kept else "no kernel"}
    view = View(NOW, Snapshot(0.0, is_draining=draining), (one,), access, "", "1", can_act=True, cache=cache)
    return [(finding.what, finding.fix, finding.is_severe) for finding in findings_of(view)]


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"lookup": LookupResult(token())},
        {"lookup": LookupResult(token(3600.0))},
        {"upstream": Upstream(), "lookup": None},
        {"lookup": LookupResult(token()), "sign_in_end": SignInEnd(NOW)},
    ],
)
def test_where_nothing_is_wrong_nothing_is_found(state):
    assert found(**state) == []


@pytest.mark.parametrize(
    ("state", "what", "fix", "is_severe"),
    [
        ({"lookup": LookupResult(token(-1.0))}, "has expired", "sign in below", True),
        ({"lookup": LookupResult(token(60.0))}, "expires soon", "sign in below", False),
        ({"lookup": LookupResult(token(-1.0, remedy="run it"))}, "has expired", "run it", True),
        ({"lookup": LookupResult(None, (NothingFound("netrc", "no file"),))}, "pm: no token found", "sign in", True),
        (
            {"lookup": LookupResult(None, (SourceBroken("keyring", "is locked"),))},
            "no token found (keyring: is locked)",
            "sign in",
            True,
        ),
        ({"lookup": LookupResult(None), "stored_in": ""}, "no token found", "renew it at its source", True),
        (
            {
                "lookup": LookupResult(None, rejected=token(), retry_at=NOW + 5),
                "lookups": {READ: LookupResult(None, rejected=token(), retry_at=NOW + 5)},
            },
            f"rejected the token from {FILE} for pypi",
            "sign in below",
            True,
        ),
        ({"outage": Outage(NOW - 90, NOW, "no route")}, "no route", "check the network", True),
        (
            {"source_warnings": ("x could not be renewed",)},
            "x could not be renewed",
            "the daemon then tries again",
            False,
        ),
        ({"lookup": LookupResult(token(remarks=("is readable by all",)))}, "readable by all", "doctor", False),
        (
            {"sign_in": SignInPage("https://pm.test/d", "AB-CD")},
            "is waiting for confirmation",
            "ppmproxy status",
            False,
        ),
        ({"sign_in_end": SignInEnd(NOW, "refused")}, "the last sign-in failed", "refused", False),
        ({"kept": False}, "no kernel", "doctor", False),
        ({"draining": True}, "stopping", "ppmproxy run", True),
    ],
)
def test_what_is_wrong_is_found_with_what_to_do(state, what, fix, is_severe):
    [(said, hint, severe)] = found(**state)

    assert what in said
    assert fix in hint
    assert severe is is_severe


def test_a_finding_shows_no_code_of_a_sign_in_which_is_for_its_own_person():
    assert "AB-CD" not in str(found(sign_in=SignInPage("https://pm.test/d", "AB-CD")))


def test_what_makes_requests_fail_comes_first():
    findings = found(source_warnings=("w",), outage=Outage(NOW, NOW, "down"))

    assert [severe for _, _, severe in findings] == [True, False]


def test_a_cache_that_is_not_in_use_is_said_and_nothing_fails_because_of_it():
    [(what, fix, is_severe)] = found(cache=CacheView(None, 1, "no room"))

    assert what == "the cache is not in use: no room"
    assert "ppmproxy doctor" in fix
    assert not is_severe
    assert found(cache=CacheView(None, 1)) == []


def test_a_shared_cache_that_failed_is_said_and_nothing_fails_because_of_it():
    [(what, fix, is_severe)] = found(cache=CacheView(None, 1, shared_trouble="the shared cache s3://b does not exist"))

    assert "s3://b does not exist" in what
    assert "ppmproxy doctor" in fix
    assert not is_severe
