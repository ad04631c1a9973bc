"""Requests a second, by a client that costs little itself."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time

from tests.benchmarks.clients import TIMEOUT
from tests.benchmarks.ground import HOST

CONNECTIONS = 16
SECONDS = 2.0
_END_OF_CHUNKS = b"0\r\n\r\n"


def rate(
    port: int, path: str, *, connections: int = CONNECTIONS, seconds: float = SECONDS, accept: str = "*/*"
) -> float:
    """Requests a second over kept connections, each asking again as soon as it has its page."""
    head = f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: uv/0.13.9\r\nAccept: {accept}\r\n\r\n"
    request = head.encode()
    selector = selectors.DefaultSelector()
    for _ in range(connections):
        selector.register(_asked(port, request), selectors.EVENT_READ, _Awaited())
    answered, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds:
        for key, _ in selector.select(1.0):
            connection, awaited = key.fileobj, key.data
            assert isinstance(connection, socket.socket)
            if not (data := _received(connection)):  # some peers keep no connection
                assert awaited.is_over, "the server closed the connection"
                selector.unregister(connection)
                connection.close()
                selector.register(_asked(port, request), selectors.EVENT_READ, _Awaited())
            elif awaited.receive(data):
                answered += 1
                with contextlib.suppress(ConnectionError):
                    connection.sendall(request)
    for key in list(selector.get_map().values()):
        key.fileobj.close()  # type: ignore[union-attr]
    selector.close()
    return answered / passed


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 20)
    except ConnectionResetError:  # a request came as the server closed
        return b""


def _asked(port: int, request: bytes) -> socket.socket:
    connection = socket.create_connection((HOST, port), timeout=TIMEOUT)
    connection.sendall(request)
    return connection


class _Awaited:
    """What is still to come of one response."""

    def __init__(self) -> None:
        self._head, self._left = b"", -1
        self._is_chunked, self._end = False, b""

    @property
    def is_over(self) -> bool:
        """Whether nothing has come of the next response."""
        return self._left < 0 and not self._head

    def receive(self, data: bytes) -> bool:
        """Take some of it; whether that was the end."""
        assert data, "the server closed the connection"
        if self._left < 0:
            self._head += data
            head, found, rest = self._head.partition(b"\r\n\r\n")
            if not found:
                return False
            assert b" 200 " in head[:15], head
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            self._is_chunked, self._end = not length, b""
            self._left, data = int(length or 0), rest
        if self._is_chunked:
            self._end = (self._end + data)[-len(_END_OF_CHUNKS) :]
            is_over = self._end == _END_OF_CHUNKS
        else:
            self._left -= len(data)
            is_over = self._left <= 0
        if is_over:
            self._head, self._left = b"", -1
        return is_over
