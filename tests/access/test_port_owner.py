"""Claims about naming who holds a port: a wildcard holds it too, and other users are named by number."""

import os
import socket
import sys
from pathlib import Path

import pytest
import real_users
from free_ports import free_port

from ppmproxy.access.listeners import open_listeners
from ppmproxy.access.port_owner import owner_of
from ppmproxy.config.local_address import TcpAddress
from ppmproxy.errors import CannotListenError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who holds a port")
two_users = real_users.two_users

OURS = f"process {os.getpid()} ("


def refusal_of(address):
    with pytest.raises(CannotListenError) as caught:
        open_listeners([address])
    return str(caught.value)


@pytest.mark.parametrize(
    ("family", "held", "wanted"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET, "0.0.0.0", "127.0.0.1"),
        (socket.AF_INET6, "::1", "::1"),
        (socket.AF_INET6, "::", "::1"),
        (socket.AF_INET6, "::", "127.0.0.1"),
        (socket.AF_INET6, "::ffff:127.0.0.1", "127.0.0.1"),
    ],
)
def test_the_process_that_holds_the_port_is_named(family, held, wanted):
    with socket.socket(family) as listener:
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((held, 0))
        listener.listen()

        assert OURS in refusal_of(TcpAddress(wanted, listener.getsockname()[1]))


def test_a_port_that_is_bound_and_not_listened_on_is_another_programs():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))

        assert "another program" in refusal_of(TcpAddress("127.0.0.1", bound.getsockname()[1]))


def test_a_port_taken_on_one_family_only_is_fatal():
    port = free_port()
    with (
        socket.create_server(("::1", port), family=socket.AF_INET6),
        pytest.raises(CannotListenError, match=r"\[::1\]:\d+ is taken by process"),
    ):
        open_listeners([TcpAddress("127.0.0.1", port), TcpAddress("::1", port)])


def test_without_the_kernels_table_it_is_another_program(tmp_path):
    assert owner_of("127.0.0.1", 7760, tmp_path) == "another program"


def test_a_process_of_our_own_that_keeps_its_files_to_itself_is_said_to_be_ours(tmp_path):
    table(tmp_path, "   0: 0100007F:1E50 00000000:0000 0A 0:0 0:0 0 ", os.geteuid())

    assert owner_of("127.0.0.1", 7760, tmp_path) == "another process of yours"


def test_a_table_that_makes_no_sense_is_no_answer(tmp_path):
    table(tmp_path, " nonsense", 1)
    (tmp_path / "net" / "tcp6").write_text("heading\n 0: zz:zz\n")

    assert owner_of("127.0.0.1", 7760, tmp_path) == "another program"


def table(proc, start, uid):
    (proc / "net").mkdir()
    (proc / "net" / "tcp").write_text(f"  sl  local_address\n{start} {uid}        0 12345 1\n")


@pytest.mark.real
def test_a_process_of_another_user_is_named_when_we_may_look_and_its_user_when_not(two_users, tmp_path):
    user, _ = two_users
    _, port = user.asked("listen", "l", "AF_INET", ["127.0.0.1", 0])
    (tmp_path / "net").symlink_to(Path("/proc/net").resolve())

    assert f"process {user.process.pid} (python" in owner_of("127.0.0.1", port)
    assert owner_of("127.0.0.1", port, tmp_path) == f"another user's process (uid {user.uid})"
    user.asked("close", "l")


@pytest.mark.real
def test_a_user_who_squats_one_family_keeps_the_daemon_from_starting(two_users):
    user, _ = two_users
    port = free_port()
    user.asked("listen", "l", "AF_INET6", ["::1", port])

    with pytest.raises(CannotListenError, match=r"\[::1\]:\d+ is taken by process"):
        open_listeners([TcpAddress("127.0.0.1", port), TcpAddress("::1", port)])
    user.asked("close", "l")
