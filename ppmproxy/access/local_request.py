"""Requests of this user's commands to a daemon of this machine, over one connection.

The daemon writes each response of its own with a Content-Length; what else a server may send is not understood. The
standard library's client takes longer to import than a command may take to start.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping

LARGEST_HEAD = 1 << 16  # bytes
_STATUS = re.compile(rb"HTTP/1\.[01] (?P<status>[0-9]{3})(?: [^\r\n]*)?\r\n")
_SIZE = re.compile(rb"\r\ncontent-length:[ \t]*(?P<bytes>[0-9]{1,15})[ \t]*\r\n", re.IGNORECASE)
_END = b"\r\n\r\n"


class NotUnderstoodError(Exception):
    """The response is not one that a daemon sends."""


class LocalConnection:
    """An open connection to a daemon; the socket's time limit holds for each step."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self._received = b""

    def ask(self, method: str, target: str, headers: Mapping[str, str], largest: int) -> tuple[int, bytes]:
        """Status and body of the response, of which `largest` bytes are read; `OSError`, `NotUnderstoodError`."""
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Content-Length: 0"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._socket.sendall(("\r\n".join([*lines, "", ""])).encode("ascii"))
        while _END not in self._received:
            self._receive(LARGEST_HEAD)
        head, _, self._received = self._received.partition(_END)
        status, size = _STATUS.match(head + b"\r\n"), _SIZE.search(head + b"\r\n")
        if status is None or size is None:
            raise NotUnderstoodError
        wanted = min(int(size["bytes"]), largest)
        while len(self._received) < wanted:
            self._receive(wanted + LARGEST_HEAD)
        body, self._received = self._received[:wanted], self._received[wanted:]
        return int(status["status"]), body

    def _receive(self, largest: int) -> None:
        data = self._socket.recv(LARGEST_HEAD)
        if not data or len(self._received) + len(data) > largest + LARGEST_HEAD:
            raise NotUnderstoodError
        self._received += data
