"""Clients that cost little themselves."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable

from tests.benchmarks.content import LARGE_FILE, LARGE_SIZE
from tests.benchmarks.ground import HOST

TIMEOUT = 60.0  # seconds without a byte
_BUFFER = memoryview(bytearray(1 << 18))
_LONGEST_HEAD = 2000
_TURN = 0.02  # seconds


def asked(port: int, path: str, tunnel: str = "") -> socket.socket:
    """A connection on which the answer to a GET is about to come; `tunnel` is sent and answered first."""
    connection = socket.create_connection((HOST, port), timeout=TIMEOUT)
    if tunnel:
        connection.sendall(tunnel.encode())
        answer = connection.recv(_LONGEST_HEAD)
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        assert answer.endswith(b"\r\n\r\n"), answer
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n".encode())
    return connection


def seconds_to_stream(port: int, tunnel: str = "", path: str = LARGE_FILE, size: int = LARGE_SIZE) -> float:
    """Fetch a large file from a server on localhost, and forget it; `tunnel` is sent and answered first."""
    started = time.perf_counter()
    received, buffer = 0, memoryview(bytearray(len(_BUFFER)))
    with asked(port, path, tunnel) as connection:
        while taken := connection.recv_into(buffer):
            received += taken
    seconds = time.perf_counter() - started
    assert size < received < size + _LONGEST_HEAD, f"{received} bytes came"
    return seconds


def read_slowly(connections: list[socket.socket], rate: float, seconds: float) -> int:
    """Take so many bytes a second from each connection; returns how many came in all."""
    received = dict.fromkeys(connections, 0)
    started = time.monotonic()
    while (passed := time.monotonic() - started) < seconds:
        for connection in connections:
            due = int(rate * passed) - received[connection]
            if due > 0:
                size = connection.recv_into(_BUFFER, min(due, len(_BUFFER)))
                assert size, "a stream ended too early"
                received[connection] += size
        time.sleep(_TURN)
    return sum(received.values())


def page_fetcher(connection: http.client.HTTPConnection, path: str) -> Callable[[], bytes]:
    """Fetches a page over one connection that is kept."""

    def fetch() -> bytes:
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == http.client.OK, response.status
        return response.read()

    return fetch
