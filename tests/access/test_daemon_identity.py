"""Claims about the proof that a port is ours: no other program can give it, reuse it or pass it on."""

import contextlib
import http.client
import http.server
import json
import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ppmproxy.access import runtime_dir
from ppmproxy.access.daemon_identity import (
    ADMIN_HEADER,
    DaemonRecord,
    IdentityKey,
    ListenerIdentity,
    endpoint_of,
    list_daemons,
    nonce_of_query,
    remove_stale,
    verify,
    verify_daemon,
)
from ppmproxy.auth.secret import Secret
from ppmproxy.environment import Environment

NONCE = "ab" * 32


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


@pytest.fixture
def key():
    return IdentityKey.generate()


@pytest.fixture
def folder(tmp_path, key):
    """The runtime folder, with the record of a daemon that has the key."""
    made = tmp_path / "run"
    DaemonRecord(os.getpid(), ("http://127.0.0.1:7760",), key).publish(made)
    return made


# --- who answers ---


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_daemon_proves_itself(serving, folder, key, host):
    server = serving(proving(key), host)

    assert verify(server.url, [folder]) is ListenerIdentity.OURS
    assert verify(server.url + "/pypi/latest/simple/", [folder]).verify


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
        connection = http.client.HTTPConnection("127.0.0.1", daemon.server_port, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", request.path, headers=dict(request.headers))
            return 200, connection.getresponse().read().decode()

    squatter = serving(passed_on, host)

    assert verify(daemon.url, [folder]) is ListenerIdentity.OURS
    assert verify(squatter.url, [folder]) is ListenerIdentity.UNPROVEN


def test_an_address_without_a_listener_is_reported_as_such():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    assert verify(f"http://127.0.0.1:{port}", []) is ListenerIdentity.NOBODY
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


# --- the key ---


def test_who_may_act(key):
    assert key.is_authorized(key.admin_secret)
    for wrong in (None, "", "é", "\udc80", key.admin_secret[:-1], key.admin_secret.upper(), key.proof(NONCE, "")):
        assert not key.is_authorized(wrong)
    assert not IdentityKey.generate().is_authorized(key.admin_secret)


def test_the_secrets_are_not_shown(key):
    assert key.secret.hex() not in repr(key)
    assert str(key.secret) not in repr(DaemonRecord(1, (), key))


def test_a_token_fingerprint_differs_by_token_and_authorizes_nothing(key):
    marks = {key.token_fingerprint(Secret(token)) for token in ("a-token", "another", "not-\udcff-text")}

    assert len(marks) == 3
    assert key.token_fingerprint(Secret("a-token")) in marks
    assert IdentityKey.generate().token_fingerprint(Secret("a-token")) not in marks
    assert not {key.admin_secret, key.proof("a-token", ""), key.proof("token", "a-token")} & marks


def test_each_place_and_nonce_has_its_own_proof(key):
    proofs = {
        key.proof(nonce, place) for nonce in (NONCE, "cd" * 32) for place in ("127.0.0.1 1", "127.0.0.1 2", "::1 1")
    }

    assert len(proofs) == 6


@pytest.mark.parametrize(
    ("query", "nonce"),
    [
        (f"nonce={NONCE}", NONCE),
        ("nonce=" + "ab" * 15, None),
        ("nonce=" + "AB" * 32, None),
        ("nonce=" + "ab" * 65, None),
        (f"nonce={NONCE}&more=1", None),
        (f"{NONCE}", None),
        ("", None),
    ],
)
def test_only_a_well_formed_nonce_is_taken(query, nonce):
    assert nonce_of_query(query) == nonce


@pytest.mark.parametrize(
    ("name", "place"),
    [
        (("127.0.0.1", 7760), "127.0.0.1 7760"),
        (("::ffff:127.0.0.1", 7760, 0, 0), "127.0.0.1 7760"),
        (("::1", 7760, 0, 0), "::1 7760"),
        (("fe80::1%lo", 7760, 0, 1), "fe80::1 7760"),
        ("/run/user/1/ppmproxy.sock", "/run/user/1/ppmproxy.sock"),
        (b"/run/x", "/run/x"),
        (None, "None"),
    ],
)
def test_both_ends_name_an_endpoint_alike(name, place):
    assert endpoint_of(name) == place


# --- the record ---


def test_a_record_is_for_this_user_alone(folder):
    [file] = folder.glob("daemon-*")

    assert {stat.S_IMODE(left.stat().st_mode) for left in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert json.loads(file.read_text())["urls"] == ["http://127.0.0.1:7760"]


def test_a_record_that_others_could_have_written_or_read_is_ignored(folder):
    [file] = folder.glob("daemon-*")

    file.chmod(0o644)

    assert list(list_daemons([folder])) == []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"pid": 1, "urls": [], "key": "zz"}', '{"pid": 1, "urls": [], "key": ""}']
)
def test_a_malformed_record_is_skipped(folder, key, text):
    runtime_dir.write_file(folder / "daemon-0.json", text)

    assert [record.key for record in list_daemons([folder])] == [key]


def test_a_folder_that_cannot_be_read_has_no_records(tmp_path, folder, key):
    closed = tmp_path / ("a" * 300) / "ppmproxy"  # the system refuses to look there, root's processes too

    assert [record.key for record in list_daemons([closed, folder])] == [key]
    remove_stale(closed, closed / "own")


def test_a_link_in_place_of_a_record_is_not_followed(folder, tmp_path):
    [file] = folder.glob("daemon-*")
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")

    assert list(list_daemons([folder])) == []


def test_records_of_daemons_that_were_killed_are_removed(folder, key):
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    DaemonRecord(ended.pid, (), IdentityKey.generate()).publish(folder)
    [own] = [file for file in folder.glob("daemon-*") if f'"pid": {os.getpid()},' in file.read_text()]

    remove_stale(folder, own)

    assert [record.key for record in list_daemons([folder])] == [key]


def test_beside_the_key_the_secret_is_left_as_a_header_named_after_the_port(folder, key):
    assert (folder / "shutdown-7760.header").read_text() == f"{ADMIN_HEADER}: {key.admin_secret}\n"


def test_a_daemon_that_ends_leaves_nothing_and_takes_nothing_of_anothers_away(folder, key):
    [file] = folder.glob("daemon-*")
    other = DaemonRecord(1, ("http://127.0.0.1:7760", "unix:/run/x"), IdentityKey.generate())
    other_file = other.publish(folder)

    DaemonRecord(os.getpid(), ("http://127.0.0.1:7760",), key).withdraw(file)
    kept = {left.name for left in folder.iterdir()}
    other.withdraw(other_file)

    assert kept == {other_file.name, "shutdown-7760.header"}
    assert list(folder.iterdir()) == []


def test_a_daemon_that_cannot_write_all_of_its_record_leaves_none_of_it(tmp_path):
    folder = tmp_path / "run"
    (folder / "shutdown-7760.header").mkdir(parents=True)
    urls = ("http://127.0.0.1:7760", "http://127.0.0.1:7761")

    with pytest.raises(OSError):
        DaemonRecord(os.getpid(), urls, IdentityKey.generate()).publish(folder)

    assert [left.name for left in folder.iterdir()] == ["shutdown-7760.header"]


# --- the folder ---


def test_the_folder_of_the_session_comes_first(tmp_path):
    session = tmp_path / "session"
    session.mkdir(mode=0o700)

    folders = runtime_dir.runtime_folders(Environment({"XDG_RUNTIME_DIR": str(session)}, tmp_path))

    assert folders == (session / "ppmproxy", tmp_path / ".cache" / f"ppmproxy-{os.geteuid()}")


@pytest.mark.parametrize("named", [None, "", "relative", "/nonexistent/run"])
def test_without_a_session_the_folder_is_in_the_cache(tmp_path, named):
    environ = {} if named is None else {"XDG_RUNTIME_DIR": named}

    folders = runtime_dir.runtime_folders(Environment(environ, tmp_path))

    assert folders == (tmp_path / ".cache" / f"ppmproxy-{os.geteuid()}",)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give a folder away")
def test_another_users_session_is_not_used_and_another_users_folder_not_written_to(tmp_path):
    session = tmp_path / "session"
    session.mkdir(mode=0o700)
    os.chown(session, 12345, -1)

    assert len(runtime_dir.runtime_folders(Environment({"XDG_RUNTIME_DIR": str(session)}, tmp_path))) == 1
    with pytest.raises(OSError, match="not a folder of this user"):
        runtime_dir.make_folder(session)


def test_a_folder_that_others_could_look_into_is_closed_to_them(tmp_path):
    (tmp_path / "run").mkdir(mode=0o755)

    runtime_dir.make_folder(tmp_path / "run")

    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700


def test_a_link_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(OSError, match="not a folder of this user"):
        runtime_dir.make_folder(tmp_path / "run")


def test_a_file_is_written_as_a_whole_or_not_at_all(tmp_path):
    file = tmp_path / "file"
    runtime_dir.write_file(file, "before")

    with pytest.raises(UnicodeEncodeError):
        runtime_dir.write_file(file, "after \udc80")

    assert runtime_dir.read_file(file) == "before"
    assert [found.name for found in Path(tmp_path).iterdir()] == ["file"]
