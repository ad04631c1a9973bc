"""Claims about requests of commands to a daemon: what is read of a response, and what is not understood."""

import socket
import threading

import pytest

from ppmproxy.access.local_request import LARGEST_HEAD, LocalConnection, NotUnderstoodError


@pytest.fixture
def asked():
    """Asks a server that sends the given bytes, and returns what `ask` does and what the server received."""
    ends = []

    def ask(*answers, largest=100):
        ours, theirs = socket.socketpair()
        ours.settimeout(60)
        ends.extend((ours, theirs))
        received = []

        def serve():
            for answer in answers:
                received.append(theirs.recv(1 << 16))
                theirs.sendall(answer)
            theirs.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=serve)
        thread.start()
        connection = LocalConnection(ours)
        try:
            return [connection.ask("GET", "/-/proof", {"X-Own": "1"}, largest) for _ in answers], received
        finally:
            ours.close()
            thread.join(5)

    yield ask
    for end in ends:
        end.close()


def test_responses_are_read_one_after_the_other(asked):
    one = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"
    two = b"HTTP/1.1 403 Forbidden\r\ncontent-length:  0\r\n\r\n"

    answers, received = asked(one, two)

    assert answers == [(200, b"one"), (403, b"")]
    assert received[0] == b"GET /-/proof HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nX-Own: 1\r\n\r\n"


def test_no_more_of_a_body_is_read_than_is_wanted(asked):
    answers, _ = asked(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000, largest=10)

    assert answers == [(200, b"x" * 10)]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nwithout a length",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nno",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/2 200\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_what_no_daemon_sends_is_not_understood(asked, answer):
    with pytest.raises(NotUnderstoodError):
        asked(answer)


def test_a_head_without_an_end_is_not_understood(asked):
    with pytest.raises(NotUnderstoodError):
        asked(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 3 * LARGEST_HEAD)
