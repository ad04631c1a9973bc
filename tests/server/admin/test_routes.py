"""Claims about the pages below ``/-/``: what each says, and that none of them shows a secret."""

import json

import pytest

from ppmproxy.access.identity_key import IdentityKey
from ppmproxy.config.model import Settings
from ppmproxy.errors import ForbiddenClientError, MethodNotAllowedError, PpmProxyError
from ppmproxy.server.admin.routes import AdminPages, AdminRequest
from ppmproxy.server.error_responses import ClientContext, render_error
from ppmproxy.server.state import State

NONCE = "ab" * 32
KEY = IdentityKey(b"k" * 32)


def state_of(*, listening=False, draining=False):
    state = State(0.0)
    if listening:
        state.record_listening()
    if draining:
        state.record_draining()
    return state


def pages(ended=None, **state):
    access = {"rule": "same-user", "kept": True, "why_not": ""}
    shut_down = ended.append if ended is not None else pytest.fail
    return AdminPages(Settings(), state_of(**state), KEY, access, lambda: shut_down("told to end"))


def said(path, query="", method="GET", **state):
    try:
        answer = pages(**state).answer(AdminRequest(method, path, query, "127.0.0.1 7760"))
    except PpmProxyError as error:
        answer = render_error(error, ClientContext())
    return answer.status, answer.body.decode()


@pytest.mark.parametrize(
    ("path", "state", "status", "line"),
    [
        ("/-/live", {}, 200, "alive\n"),
        ("/-/startup", {}, 503, "starting: not listening yet\n"),
        ("/-/startup", {"listening": True}, 200, "started\n"),
        ("/-/ready", {}, 503, "starting: not listening yet\n"),
        ("/-/ready", {"listening": True}, 200, "ready\n"),
        ("/-/ready", {"listening": True, "draining": True}, 503, "stopping: open requests are being finished\n"),
    ],
)
def test_the_health_pages_say_what_state_the_daemon_is_in(path, state, status, line):
    assert said(path, **state) == (status, line)


@pytest.mark.parametrize("path", ["/-/", "/-/nothing", "/-/live/", "/-/LIVE", "/-/shutdown/"])
def test_a_path_that_is_no_page_is_not_found(path):
    assert said(path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
@pytest.mark.parametrize("path", ["/-/live", "/-/status", "/-/proof", "/-/nothing"])
def test_pages_are_only_read(method, path):
    assert said(path, method=method)[0] == 405


def test_a_post_with_the_secret_of_this_start_ends_the_daemon():
    ended = []

    answer = pages(ended).answer(AdminRequest("POST", "/-/shutdown", secret=KEY.admin_secret))

    assert (answer.status, ended) == (202, ["told to end"])


@pytest.mark.parametrize("secret", [None, "", "0" * 64, KEY.secret.hex(), KEY.admin_secret.upper()])
def test_a_shutdown_without_the_secret_is_refused(secret):
    with pytest.raises(ForbiddenClientError) as raised:
        pages().answer(AdminRequest("POST", "/-/shutdown", secret=secret))

    assert "ppmproxy shutdown" in raised.value.hint


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_a_shutdown_takes_a_post(method):
    with pytest.raises(MethodNotAllowedError) as raised:
        pages().answer(AdminRequest(method, "/-/shutdown", secret=KEY.admin_secret))

    answer = render_error(raised.value, ClientContext())
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


def test_a_request_does_not_show_its_secret():
    assert KEY.admin_secret not in repr(AdminRequest("POST", "/-/shutdown", secret=KEY.admin_secret))


def test_status_says_who_may_use_the_proxy():
    _, body = said("/-/status", listening=True)

    assert json.loads(body)["access"] == {"rule": "same-user", "kept": True, "why_not": ""}


def test_the_proof_is_of_the_number_and_the_place():
    assert said("/-/proof", f"nonce={NONCE}") == (200, KEY.proof(NONCE, "127.0.0.1 7760") + "\n")


@pytest.mark.parametrize("path", ["/-/live", "/-/ready", "/-/status", "/-/proof", "/-/nothing"])
def test_no_page_shows_the_key(path):
    status, body = said(path, f"nonce={NONCE}")

    assert status
    assert KEY.secret.hex() not in body
    assert KEY.admin_secret not in body
    assert KEY.secret.hex() not in repr(pages())


def test_no_page_is_cached():
    for path in ("/-/live", "/-/status"):
        assert pages().answer(AdminRequest("GET", path)).headers["Cache-Control"] == "no-store"
