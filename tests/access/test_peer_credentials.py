"""Claims about the user at the other end of a connection, with real users and real sockets."""

import contextlib
import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import textwrap
import time

import pytest
import real_users
from downloads import skip_or_fail

from ppmproxy.access.peer_credentials import PeerUids, is_supported, own_uid, uid_of_name

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who is at the other end of TCP")
resource = pytest.importorskip("resource")
two_users, open_folder = real_users.two_users, real_users.open_folder

FAMILIES = {"AF_INET": "127.0.0.1", "AF_INET6": "::1"}
MANY = 5000
GENEROUS = 500e-6  # seconds; it takes 10 µs, and a busy machine has its moments


@pytest.fixture
def peers():
    made = PeerUids()
    yield made
    made.close()


@pytest.fixture
def listening():
    """Opens listeners: `listening("AF_INET6")`; a Unix socket where a path is given."""
    with contextlib.ExitStack() as stack:

        def open_one(family="AF_INET", address=None, *, both=False):
            listener = stack.enter_context(socket.socket(getattr(socket, family)))
            if family == "AF_INET6":
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
            listener.settimeout(10)
            listener.bind(address or ("::" if both else FAMILIES[family], 0))
            listener.listen(MANY)
            return listener

        yield open_one


@contextlib.contextmanager
def pair(listener):
    """A client's end and the accepted one."""
    with socket.socket(listener.family) as client:
        client.connect(listener.getsockname())
        accepted, _ = listener.accept()
        with accepted:
            yield client, accepted


# --- one's own connections ---


@pytest.mark.parametrize("family", FAMILIES)
def test_our_own_connection_is_ours(peers, listening, family):
    with pair(listening(family)) as (_, accepted):
        assert peers.uid_of(accepted) == os.geteuid()


def test_our_own_unix_connection_is_ours(peers, listening, tmp_path):
    with pair(listening("AF_UNIX", str(tmp_path / "s"))) as (_, accepted):
        assert peers.uid_of(accepted) == os.geteuid()


def test_a_mapped_pair_is_known_on_an_ipv4_listener(peers, listening):
    listener = listening("AF_INET")
    with socket.socket(socket.AF_INET6) as client:
        client.connect(("::ffff:127.0.0.1", listener.getsockname()[1]))
        accepted, _ = listener.accept()
        with accepted:
            assert peers.uid_of(accepted) == os.geteuid()


def test_a_mapped_pair_is_known_on_a_listener_for_both_families(peers, listening):
    listener = listening("AF_INET6", both=True)
    with socket.create_connection(("127.0.0.1", listener.getsockname()[1])):
        accepted, name = listener.accept()
        with accepted:
            assert name[0] == "::ffff:127.0.0.1"
            assert peers.uid_of(accepted) == os.geteuid()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_peer_that_has_sent_everything_and_still_reads_is_known(peers, listening, family):
    with pair(listening(family)) as (client, accepted):
        client.shutdown(socket.SHUT_WR)

        assert peers.uid_of(accepted) == os.geteuid()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_peer_that_has_closed_is_unknown_and_not_root(peers, listening, family):
    with pair(listening(family)) as (client, accepted):
        client.close()

        assert peers.uid_of(accepted) is None


def test_a_peer_that_has_reset_is_unknown(peers, listening):
    with pair(listening()) as (client, accepted):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()

        assert peers.uid_of(accepted) is None


def test_a_listener_is_never_taken_for_the_peer(peers, listening):
    """Asked for a connection that is gone, the kernel answers with whoever listens on the port.

    Both hold the port from the beginning, so that nobody else's connection can take it in between.
    """
    listener = listening()
    with socket.socket() as listens_there, socket.socket() as client:
        for sharer in (listens_there, client):
            sharer.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sharer.bind(("127.0.0.1", listens_there.getsockname()[1]))
        client.connect(listener.getsockname())
        accepted, _ = listener.accept()
        with accepted:
            ours = Frozen(accepted)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            listens_there.listen()

            assert peers.uid_of(ours) is None


class Frozen:
    """A connection as it was, with its names kept."""

    def __init__(self, connection):
        self.family = connection.family
        self.names = connection.getpeername(), connection.getsockname()

    def getpeername(self):
        return self.names[0]

    def getsockname(self):
        return self.names[1]

    def getsockopt(self, _level, _name, _size):
        raise OSError("no option")


# --- the kernel socket ---


def test_a_kernel_socket_that_fails_is_reopened(peers, listening):
    with pair(listening()) as (_, accepted):
        assert peers.uid_of(accepted) == os.geteuid()
        peers._kernel.close()

        assert peers.uid_of(accepted) == os.geteuid()


def test_a_reply_to_an_earlier_look_up_is_skipped(peers, listening):
    listener = listening()
    with pair(listener) as (_, first), pair(listener) as (gone, second):
        gone.close()
        peers.uid_of(first)
        for _ in range(3):
            question = struct.pack("=IHHII", 72, 20, 1, 0, 0) + bytes(56)
            peers._kernel.send(question)

        assert peers.uid_of(first) == os.geteuid()
        assert peers.uid_of(second) is None


def test_closing_twice_is_fine_and_a_look_up_afterwards_works(peers, listening):
    with pair(listening()) as (_, accepted):
        peers.close()
        peers.close()

        assert peers.uid_of(accepted) == os.geteuid()


def test_a_connection_that_is_closed_on_our_side_is_unknown(peers, listening):
    with pair(listening()) as (_, accepted):
        accepted.close()

        assert peers.uid_of(accepted) is None


def test_a_look_up_never_waits(peers, listening):
    with pair(listening()) as (_, accepted):
        peers.uid_of(accepted)

        assert peers._kernel.gettimeout() == 0


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


# --- real users ---


@pytest.mark.real
@pytest.mark.parametrize("family", FAMILIES)
def test_each_users_connection_has_its_owner(two_users, peers, listening, family):
    listener = listening(family)
    for user in two_users:
        user.asked("connect", "c", family, list(listener.getsockname()))
        accepted, _ = listener.accept()

        with accepted:
            assert peers.uid_of(accepted) == user.uid
            user.asked("finish", "c")
            assert peers.uid_of(accepted) == user.uid
            user.asked("close", "c")
            assert peers.uid_of(accepted) is None


@pytest.mark.real
def test_a_users_mapped_connection_has_its_owner(two_users, peers, listening):
    listener = listening("AF_INET")
    for user in two_users:
        user.asked("connect", "c", "AF_INET6", ["::ffff:127.0.0.1", listener.getsockname()[1]])
        accepted, _ = listener.accept()

        with accepted:
            assert peers.uid_of(accepted) == user.uid
        user.asked("close", "c")


@pytest.mark.real
def test_a_users_unix_connection_has_its_owner(two_users, peers, listening, open_folder):
    path = open_folder / "s"
    listener = listening("AF_UNIX", str(path))
    path.chmod(0o666)
    for user in two_users:
        user.asked("connect", "c", "AF_UNIX", str(path))
        accepted, _ = listener.accept()

        with accepted:
            assert peers.uid_of(accepted) == user.uid
        user.asked("close", "c")


@pytest.mark.real
def test_the_look_up_takes_no_longer_with_thousands_of_connections(peers, listening):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * MANY + 200
    if hard != resource.RLIM_INFINITY and hard < needed:
        skip_or_fail(f"only {hard} files may be open", f"raise the limit to {needed}: ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    listener = listening()
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        few = [stack.enter_context(pair(listener))[1] for _ in range(100)]
        with_few = median_seconds(peers, few)
        many = [stack.enter_context(pair(listener))[1] for _ in range(MANY)]

        with_many = median_seconds(peers, many)

        assert all(peers.uid_of(accepted) == os.geteuid() for accepted in many[::100])
    assert with_many < max(5 * with_few, GENEROUS)


def median_seconds(peers, connections):
    taken = []
    for connection in connections:
        started = time.perf_counter()
        peers.uid_of(connection)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


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
            listener.settimeout(10)
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
        said, _ = process.communicate(timeout=30)

    assert words in said
