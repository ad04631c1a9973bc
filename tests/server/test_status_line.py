"""Claims about `status_line`: one line says where the upstreams are and which token each gets, and never a token."""

import pytest

from ppmproxy.auth.credential import Claims, Credential
from ppmproxy.auth.secret import Secret
from ppmproxy.config.model import Upstream
from ppmproxy.credentials.lookup import LookupResult, NothingFound, TokenRequest
from ppmproxy.server.state import Snapshot
from ppmproxy.server.status_line import LONGEST, status_line
from ppmproxy.server.upstream_state import SignInPage, UpstreamSnapshot

NOW = 1_000_000_000.0  # 2001-09-09 01:46 UTC
UPSTREAM = Upstream(name="pm", url="https://pm.example.com", configured=True)
READ_PYPI = TokenRequest("", "pypi")
TOKEN = Credential(Secret("a-secret-token"), "file /token")


def expiring(at):
    return Credential(Secret("a-secret-token"), "file /token", Claims(expires_at=at))


def of(token_request, lookup):
    return UpstreamSnapshot(lookup, {token_request: lookup})


@pytest.mark.parametrize(
    ("upstream", "status"),
    [
        (UpstreamSnapshot(), "no token looked for yet"),
        (UpstreamSnapshot(LookupResult(None, (NothingFound("netrc", "no such file"),))), "no token found"),
        (UpstreamSnapshot(LookupResult(TOKEN)), "token from file /token"),
        (UpstreamSnapshot(LookupResult(expiring(NOW + 60))), "token from file /token, until 2001-09-09T01:47:40+00:00"),
        (
            UpstreamSnapshot(LookupResult(expiring(NOW - 60))),
            "token from file /token, expired 2001-09-09T01:45:40+00:00",
        ),
        (UpstreamSnapshot(LookupResult(expiring(1e30))), "token from file /token, until unknown"),
        (of(READ_PYPI, LookupResult(None, (), TOKEN, NOW + 5)), "the token from file /token was refused"),
        (
            of(TokenRequest("", "internal"), LookupResult(None, (), TOKEN, NOW + 5)),
            "the token from file /token was refused for read internal",
        ),
        (
            UpstreamSnapshot(LookupResult(TOKEN), source_warnings=("x could not be renewed: no",)),
            "token from file /token, x could not be renewed: no",
        ),
        (
            UpstreamSnapshot(LookupResult(None), sign_in=SignInPage("https://pm.example.com/device", "AB-CD")),
            "sign in at https://pm.example.com/device with the code AB-CD",
        ),
    ],
)
def test_the_status_of_an_upstream_is_said_in_a_few_words(upstream, status):
    state = Snapshot(NOW, upstreams={"pm": upstream})

    assert status_line(state, [UPSTREAM], "", NOW) == f"https://pm.example.com: {status}"


def test_the_public_server_needs_no_token():
    assert status_line(Snapshot(NOW), [Upstream()], "", NOW) == "https://packagemanager.posit.co: public, no token"


def test_the_daemon_s_trouble_comes_first_and_every_upstream_is_named():
    other = Upstream(name="b", url="https://b.example.com", configured=True)

    line = status_line(Snapshot(NOW), [UPSTREAM, other], "settings not reloaded", NOW)

    assert line == (
        "settings not reloaded; https://pm.example.com: no token looked for yet; "
        "https://b.example.com: no token looked for yet"
    )


def test_a_daemon_that_stops_says_how_many_requests_it_waits_for():
    assert status_line(Snapshot(NOW, is_draining=True, in_flight=2), [UPSTREAM], "", NOW).startswith(
        "stopping: 2 requests"
    )


def test_many_upstreams_do_not_make_a_line_without_an_end():
    many = [Upstream(name=f"u{number}", url=f"https://u{number}.example.com", configured=True) for number in range(99)]

    assert len(status_line(Snapshot(NOW), many, "", NOW)) <= LONGEST
