"""Claims about the state of an upstream: which of its credentials make the daemon unready, and which warn."""

import pytest

from ppmproxy.auth.credential import Credential, Use
from ppmproxy.auth.secret import Secret
from ppmproxy.config.model import Upstream
from ppmproxy.credentials.lookup import LookupResult, SourceBroken, TokenRequest
from ppmproxy.server.state import Snapshot, State, unready_reason, warnings
from ppmproxy.server.upstream_state import UpstreamSnapshot

TOKEN = "a-token"
NOW = 1_700_000_000.0
PM = Upstream(name="pm", url="https://pm.example.com/rspm", mount="/pm", configured=True)
READ_PYPI = TokenRequest(PM.url, "pypi")


def of_upstream(**upstream):
    """A daemon that listens and whose upstream is in this state."""
    return Snapshot(0.0, is_listening=True, upstreams={"pm": UpstreamSnapshot(**upstream)})


def test_a_rejected_token_makes_the_daemon_unready_until_there_is_another_or_it_is_offered_again():
    rejected = Credential.of_secret(Secret(TOKEN), "file /t")
    skipped = (SourceBroken("file /t", "refused by the Package Manager a moment ago"),)

    before = of_upstream(lookups={READ_PYPI: LookupResult(None, skipped, rejected, retry_at=NOW + 5)})
    after = of_upstream(lookups={READ_PYPI: LookupResult(Credential.of_secret(Secret("another"), "file /t"))})

    assert unready_reason(before, NOW) == "pm: the token from file /t was refused"
    assert unready_reason(before, NOW + 5) == ""
    assert unready_reason(after, NOW) == ""


def test_a_clock_that_was_set_back_does_not_make_the_daemon_unready_for_hours():
    rejected = Credential.of_secret(Secret(TOKEN), "file /t")

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
    rejected = LookupResult(None, (), Credential.of_secret(Secret(TOKEN), "file /t"), retry_at=NOW + 5)

    state = of_upstream(lookup=rejected, lookups={token_request: rejected})

    assert unready_reason(state, NOW) == ""
    assert warnings(state, NOW) == warning
    assert warnings(state, NOW + 5) == ""


def test_many_requests_for_other_repositories_do_not_hide_the_default_one():
    rejected = LookupResult(None, (), Credential.of_secret(Secret(TOKEN), "file /t"), retry_at=NOW + 5)
    state = State(0.0)
    state.record_listening()

    state.upstream("pm").record_lookup(READ_PYPI, rejected, ())
    for number in range(100):
        state.upstream("pm").record_lookup(TokenRequest(PM.url, f"repo-{number}"), LookupResult(None), ())

    assert unready_reason(state.snapshot(), NOW) == "pm: the token from file /t was refused"
    assert len(state.snapshot().upstream("pm").lookups) <= 20


def test_a_renewal_that_failed_is_a_warning_and_no_reason_to_be_unready():
    state = of_upstream(source_warnings=("identity token /t could not be renewed: no answer",))

    assert unready_reason(state, NOW) == ""
    assert warnings(state, NOW) == "pm: identity token /t could not be renewed: no answer"
