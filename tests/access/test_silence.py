"""Claims about `silence`: the kernel knows for how long a client has sent nothing."""

import socket
import sys
import time

import pytest

from ppmproxy.access.silence import silent_for

WAIT = 0.3


@pytest.mark.skipif(sys.platform != "linux", reason="nothing else tells")
def test_the_time_in_the_queue_of_a_listener_counts():
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        deadline = time.monotonic() + 60
        accepted_at = time.monotonic() + WAIT
        while time.monotonic() < accepted_at:
            time.sleep(0.01)
        with listener.accept()[0] as connection:
            before = silent_for(connection)
            client.send(b"x")
            while (after := silent_for(connection)) >= before and time.monotonic() < deadline:
                time.sleep(0.01)

            assert before >= WAIT / 2
            assert after < before


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no Unix sockets here")
def test_of_a_unix_socket_nothing_is_known():
    one, other = socket.socketpair()
    with one, other:
        assert silent_for(one) == 0
