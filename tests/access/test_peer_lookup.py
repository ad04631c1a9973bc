"""Claims about where the user at the other end can be looked up, and where that is found out not to work."""

import os
import shutil
import socket
import struct
import subprocess
import sys
import textwrap

import pytest
from downloads import skip_or_fail
from peer_pairs import pair

from ppmproxy.access.peer_credentials import PeerUids, is_supported, own_uid, uid_of_name

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who is at the other end of TCP")


# --- whether it works ---


def test_it_works_here(peers, listening, tmp_path):
    listeners = [listening("AF_INET"), listening("AF_INET6"), listening("AF_UNIX", str(tmp_path / "s"))]

    assert peers.unavailable_reason(listeners) == ""


@pytest.mark.parametrize(
    ("platform", "family", "known"),
    [
        ("linux", socket.AF_INET, True),
        ("linux", socket.AF_UNIX, True),
        ("darwin", socket.AF_INET6, False),
        ("darwin", socket.AF_UNIX, True),
        ("win32", socket.AF_INET, False),
        ("freebsd14", socket.AF_INET, False),
    ],
)
def test_what_a_platform_can_tell(monkeypatch, platform, family, known):
    monkeypatch.setattr(sys, "platform", platform)

    assert is_supported(family) is known


def test_a_platform_that_cannot_tell_says_so(peers, listening, monkeypatch):
    monkeypatch.setattr(sys, "platform", "freebsd14")
    listener = listening()

    with pair(listener) as (_, accepted):
        assert peers.uid_of(accepted) is None
    assert "does not tell" in peers.unavailable_reason([listener])


class MacOsUnixSocket:
    family = socket.AF_UNIX

    def __init__(self, version, uid):
        self.answer = struct.pack("=IIhxx16I", version, uid, 1, *range(16))

    def getsockopt(self, level, name, size):
        assert (level, name) == (0, 1)
        return self.answer[:size]


@pytest.mark.parametrize(("version", "expected"), [(0, 501), (1, None)])
def test_macos_tells_it_for_unix_sockets(peers, monkeypatch, version, expected):
    monkeypatch.setattr(sys, "platform", "darwin")

    assert peers.uid_of(MacOsUnixSocket(version, 501)) == expected


@pytest.mark.parametrize(
    ("uid_map", "is_unknown"),
    [("         0          0 4294967295\n", False), ("0 1000 1\n1 100000 65536\n", True), ("", True)],
)
def test_in_a_user_namespace_the_overflow_uid_is_unknown(tmp_path, uid_map, is_unknown):
    (tmp_path / "uid_map").write_text(uid_map)

    peers = PeerUids(tmp_path / "uid_map")

    assert peers.uid_of(UnixConnectionOf(65534)) == (None if is_unknown else 65534)
    assert peers.uid_of(UnixConnectionOf(1000)) == 1000


@pytest.mark.parametrize(
    ("uid_map", "seen"),
    [
        ("         0          0 4294967295\n", {0, 100, 1000, 2000}),
        ("1000 1000 1\n", {1000}),
        ("0 1000 1\n1000 100000 65536\n", {0, 1000, 2000}),
    ],
)
def test_in_a_user_namespace_only_those_who_are_mapped_have_a_number_of_their_own(tmp_path, uid_map, seen):
    (tmp_path / "uid_map").write_text(uid_map)

    peers = PeerUids(tmp_path / "uid_map")

    assert {uid for uid in (0, 100, 1000, 2000) if peers.can_see(uid)} == seen


class UnixConnectionOf:
    family = socket.AF_UNIX

    def __init__(self, uid):
        self.uid = uid

    def getsockopt(self, _level, _name, _size):
        return struct.pack("=iII", 1, self.uid, self.uid)


def test_names_have_numbers():
    assert uid_of_name("root") == 0
    assert uid_of_name("no-such-user-here") is None
    assert uid_of_name("with\0nul") is None
    assert own_uid() == os.geteuid()


# --- namespaces ---


LISTENS_ELSEWHERE = """
    import fcntl, socket, struct, sys
    with socket.socket() as any_socket:  # the loopback of a new namespace is down: SIOCSIFFLAGS, IFF_UP
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh22x", b"lo", 1))
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    with socket.socket(socket.AF_UNIX) as way_back:
        way_back.connect(sys.argv[1])
        socket.send_fds(way_back, [b"x"], [listener.fileno()])
    sys.stdin.read()
"""


def in_new_namespace(kind, program, *arguments):
    if shutil.which("unshare") is None or subprocess.run(["unshare", kind, "true"], check=False).returncode:
        skip_or_fail(f"no new namespace can be made (unshare {kind})", "run the tests as root, with util-linux")
    command = ["unshare", kind, sys.executable, "-c", textwrap.dedent(program), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.real
def test_a_listener_of_another_network_namespace_is_found_out(peers, listening, tmp_path):
    """As systemd hands one over to a service with a network of its own."""
    way = listening("AF_UNIX", str(tmp_path / "way"))
    with in_new_namespace("-n", LISTENS_ELSEWHERE, str(tmp_path / "way")):
        from_there, _ = way.accept()
        with from_there:
            _, [number], _, _ = socket.recv_fds(from_there, 1, 1)
        with socket.socket(fileno=number) as listener:
            listener.settimeout(60)
            accepted, _ = listener.accept()
            with accepted:
                assert peers.uid_of(accepted) is None
            assert "another network namespace" in peers.unavailable_reason([listener])


@pytest.mark.real
@pytest.mark.parametrize(
    ("kind", "words"),
    [("-n", "a connection to oneself failed"), ("-U", "in its user namespace")],
)
def test_a_namespace_in_which_it_cannot_work_is_found_out(kind, words):
    program = """
        import socket
        from ppmproxy.access.peer_credentials import PeerUids
        print(PeerUids().unavailable_reason([socket.create_server(("127.0.0.1", 0))]))
    """
    with in_new_namespace(kind, program) as process:
        said, _ = process.communicate(timeout=120)

    assert words in said
