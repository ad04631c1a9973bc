"""Claims about the user at the other end of a connection, with real users and real sockets."""

import contextlib
import os
import socket
import statistics
import struct
import sys
import time

import pytest
import real_users
from downloads import skip_or_fail
from peer_pairs import FAMILIES, MANY, pair

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who is at the other end of TCP")


resource = pytest.importorskip("resource")


two_users, open_folder = real_users.two_users, real_users.open_folder


GENEROUS = 500e-6  # seconds; it takes 10 µs, and a busy machine has its moments


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
