"""Claims about the proof that a port is ours: no other program can give it, reuse it or pass it on."""

import contextlib
import http.client
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import pytest
from free_ports import free_port

from ppmproxy.access.daemon_identity import ListenerIdentity, verify, verify_daemon
from ppmproxy.access.daemon_record import DaemonRecord
from ppmproxy.access.identity_key import ADMIN_HEADER, IdentityKey, endpoint_of, nonce_of_query


class Answering(http.server.BaseHTTPRequestHandler):
    """Answers as the test says; notes what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.heard.append((self.path, dict(self.headers)))
        self.reply(*self.server.answer(self))

    def do_POST(self):
        self.server.heard.append((self.path, dict(self.headers)))
        self.reply(204, "")

    def reply(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args):
        pass


@pytest.fixture
def serving():
    """Starts a server on loopback: `serving(answer)`."""
    with contextlib.ExitStack() as stack:

        def start(answer, host="127.0.0.1"):
            kind = type("Server", (http.server.ThreadingHTTPServer,), {"address_family": family_of(host)})
            server = stack.enter_context(kind((host, 0), Answering))
            server.answer, server.heard = answer, []
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            server.url = f"http://{f'[{host}]' if ':' in host else host}:{server.server_port}"
            return server

        yield start


def family_of(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def proving(key):
    """What a daemon with this key answers."""

    def answer(request):
        nonce = nonce_of_query(urlsplit(request.path).query)
        return 200, key.proof(nonce, endpoint_of(request.connection.getsockname())) + "\n"

    return answer


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_daemon_proves_itself(serving, folder, key, host):
    server = serving(proving(key), host)

    assert verify(server.url, [folder]) is ListenerIdentity.OURS
    assert verify(server.url + "/pypi/latest/simple/", [folder]) is ListenerIdentity.OURS


def test_a_daemon_with_another_key_does_not(serving, folder):
    server = serving(proving(IdentityKey.generate()))

    assert verify(server.url, [folder]) is ListenerIdentity.UNPROVEN


def test_without_a_record_the_daemon_is_unproven(serving, key, tmp_path):
    server = serving(proving(key))

    assert verify(server.url, [tmp_path, tmp_path / "nowhere"]) is ListenerIdentity.UNPROVEN


@pytest.mark.parametrize(
    ("status", "text"), [(200, "hello"), (404, "0" * 64), (200, ""), (200, "é" * 64), (200, "0" * 99999)]
)
def test_another_program_does_not(serving, folder, status, text):
    server = serving(lambda _: (status, text))

    assert verify(server.url, [folder]) is ListenerIdentity.OTHER_PROGRAM


REFUSAL = json.dumps({"code": "forbidden-client"})


def test_a_refusal_is_another_user_s(serving, folder):
    server = serving(lambda _: (403, REFUSAL))

    assert verify(server.url, [folder]) is ListenerIdentity.OTHER_USERS


def test_a_refusal_by_the_own_daemon_means_that_it_cannot_see_who_connects(serving, folder, key):
    server = serving(lambda _: (403, REFUSAL))
    DaemonRecord(os.getpid(), (server.url,), key).publish(folder)

    assert verify(server.url, [folder]) is ListenerIdentity.USERS_UNKNOWN


def test_a_refusal_where_the_own_daemon_was_killed_is_another_user_s(serving, folder, key):
    server = serving(lambda _: (403, REFUSAL))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    DaemonRecord(ended.pid, (server.url,), key).publish(folder)

    assert verify(server.url, [folder]) is ListenerIdentity.OTHER_USERS


def test_a_proof_cannot_be_replayed(serving, folder, key):
    overheard = []

    def remember(request):
        overheard.append(proving(key)(request))
        return overheard[0]

    server = serving(remember)

    assert verify(server.url, [folder]) is ListenerIdentity.OURS
    assert verify(server.url, [folder]) is ListenerIdentity.UNPROVEN


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_squatter_who_forwards_the_nonce_to_the_daemon_gets_a_useless_proof(serving, folder, key, host):
    daemon = serving(proving(key))

    def passed_on(request):
        connection = http.client.HTTPConnection("127.0.0.1", daemon.server_port, timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", request.path, headers=dict(request.headers))
            return 200, connection.getresponse().read().decode()

    squatter = serving(passed_on, host)

    assert verify(daemon.url, [folder]) is ListenerIdentity.OURS
    assert verify(squatter.url, [folder]) is ListenerIdentity.UNPROVEN


def test_an_address_without_a_listener_is_reported_as_such():
    assert verify(f"http://127.0.0.1:{free_port()}", []) is ListenerIdentity.NOBODY
    assert verify("http://no-such-host.invalid:1", []) is ListenerIdentity.NOBODY
    assert verify("nonsense", []) is ListenerIdentity.NOBODY
    assert verify("http://127.0.0.1:99999", []) is ListenerIdentity.NOBODY


def test_a_program_that_does_not_answer_is_silent(folder):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        assert verify(f"http://127.0.0.1:{port}", [folder], timeout=0.2) is ListenerIdentity.SILENT


def test_no_secret_crosses_before_the_proof(serving, folder, key):
    squatter = serving(lambda _: (200, "0" * 64))

    with verify_daemon(squatter.url, [folder]) as made, pytest.raises(ConnectionError):
        made.post("/-/shutdown")

    assert [path.partition("?")[0] for path, _ in squatter.heard] == ["/-/proof"]
    assert key.secret.hex() not in str(squatter.heard)
    assert key.admin_secret not in str(squatter.heard)


def test_after_the_proof_the_secret_goes_over_the_same_connection(serving, folder, key):
    daemon = serving(proving(key))

    with verify_daemon(daemon.url, [folder]) as made:
        status = made.post("/-/shutdown")

    assert status == 204
    assert daemon.heard[-1][1][ADMIN_HEADER] == key.admin_secret
    assert key.secret.hex() not in str(daemon.heard)
