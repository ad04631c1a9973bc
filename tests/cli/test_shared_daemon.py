"""Claims about `shared_daemon`: a person whose own token is not used by the running daemon is informed."""

import io
import os

import pytest

from ppmproxy.access.daemon_identity import ListenerIdentity
from ppmproxy.access.daemon_record import DaemonRecord
from ppmproxy.access.discovery import DaemonInfo
from ppmproxy.access.identity_key import IdentityKey
from ppmproxy.auth.secret import Secret
from ppmproxy.cli.context import Context
from ppmproxy.cli.shared_daemon import shared_daemon
from ppmproxy.config.model import CredentialSpec, Settings, Upstream
from ppmproxy.environment import Environment

URL = "http://127.0.0.1:1"
KEY = IdentityKey(b"k" * 32)
STANDARD = Upstream(name="a", url="https://a.example.com", mount="/a", configured=True)
WITH_ITS_OWN = Upstream(
    name="b", url="https://b.example.com", mount="/b", configured=True, credentials=(CredentialSpec("file"),)
)


@pytest.fixture
def told(tmp_path):
    """What is said to whoever has one token in `PPMPROXY_TOKEN`, of a daemon that uses others, by upstream."""

    def of(token, used):
        runtime = tmp_path / "runtime"
        environ, err = {"PPMPROXY_TOKEN": token, "XDG_RUNTIME_DIR": str(runtime)}, io.StringIO()
        runtime.mkdir(mode=0o700)
        DaemonRecord(os.getpid(), (URL,), KEY).publish(runtime / "ppmproxy")
        upstreams = [
            {
                "mount": upstream.mount,
                "credential": secret and {"source": "file /t", "mark": KEY.token_fingerprint(secret)},
            }
            for upstream, secret in used
        ]
        settings = Settings(upstreams=tuple(upstream for upstream, _ in used))
        with shared_daemon(
            DaemonInfo(URL, ListenerIdentity.OURS, {"upstreams": upstreams}),
            settings,
            Context(Environment(environ, tmp_path), err, err),
        ):
            return err.getvalue()

    return of


@pytest.mark.parametrize("token", ["mine", "not-\udcff-text"])
def test_a_person_whose_own_token_is_not_in_use_is_informed(told, token):
    said = told(token, [(STANDARD, Secret("another"))])

    assert "PPMPROXY_TOKEN is ignored, because your running ppmproxy uses its own token, from file /t\n" in said
    assert "ppmproxy shutdown" in said
    assert "stop ppmproxy.socket" in said  # which would start the next one, with the same token
    assert token not in said


def test_a_person_whose_own_token_is_in_use_gets_no_message(told):
    assert told("mine", [(STANDARD, Secret("mine"))]) == ""


def test_an_upstream_with_credentials_of_its_own_causes_no_message_about_the_standard_token(told):
    assert told("mine", [(STANDARD, None), (WITH_ITS_OWN, Secret("another"))]) == ""
