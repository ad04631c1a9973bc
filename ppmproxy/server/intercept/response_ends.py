"""Where the responses on a connection end: whether every request has been answered in full.

Two servers answer over one connection of a client. A client that sends a request before the response to the one before
has ended may take what the other server sends for the rest of that. Responses are framed as RFC 9112 section 6.3 says;
they come from this program, and are not checked.
"""

from __future__ import annotations

import re
from collections import deque

_HEAD_END, _LINE_END = b"\r\n\r\n", b"\r\n"
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_SIZE = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked[ \t]*\r\n", re.IGNORECASE)
_WITHOUT_BODY = frozenset({b"204", b"304"})


class ResponseEnds:
    """Follows the responses to the requests of one connection."""

    def __init__(self) -> None:
        self._methods: deque[str] = deque()  # of requests whose response has not begun
        self._pending = bytearray()  # the beginning of a head, or of a line between chunks
        self._left: int | None = 0  # bytes of the body, or of the chunk and the line end behind it; None: until the end
        self._is_chunked = False  # the body is, and its last chunk has not come

    @property
    def missing(self) -> int:
        """How many responses have not come in full."""
        is_in_body = self._left != 0 or self._is_chunked
        return len(self._methods) + is_in_body

    @property
    def has_answered_all(self) -> bool:
        """Whether each request has its whole response."""
        return self.missing == 0

    def asked(self, method: str) -> None:
        """A request has been sent."""
        self._methods.append(method)

    def received(self, data: bytes | bytearray | memoryview) -> None:
        """A piece of the responses has come."""
        while len(data):
            if self._left is None:
                return
            if self._left:
                taken = min(self._left, len(data))
                self._left -= taken
                data = data[taken:]
            else:
                data = self._read_line(data) if self._is_chunked else self._read_head(data)

    def _read_head(self, data: bytes | bytearray | memoryview) -> bytes | bytearray | memoryview:
        head, rest = self._up_to(_HEAD_END, data)
        if head is not None and (status := _STATUS.match(head)) and not status[1].startswith(b"1"):
            method = self._methods.popleft() if self._methods else ""
            if method != "HEAD" and status[1] not in _WITHOUT_BODY:
                size = _SIZE.search(head)
                self._is_chunked = _CHUNKED.search(head) is not None
                self._left = 0 if self._is_chunked else int(size[1]) if size else None
        return rest

    def _read_line(self, data: bytes | bytearray | memoryview) -> bytes | bytearray | memoryview:
        """The size of a chunk; that of the last one is 0, and no trailers are sent here."""
        line, rest = self._up_to(_LINE_END, data)
        if line is not None:
            size = int(line.partition(b";")[0], 16)
            self._left = size + len(_LINE_END)
            self._is_chunked = size > 0
        return rest

    def _up_to(
        self, end: bytes, data: bytes | bytearray | memoryview
    ) -> tuple[bytes | None, bytes | bytearray | memoryview]:
        """What stands up to an end, and the rest of the data; None while that end has not come."""
        self._pending += data
        found = self._pending.find(end)
        if found < 0:
            return None, b""
        whole, rest = bytes(self._pending[: found + len(end)]), bytes(self._pending[found + len(end) :])
        self._pending.clear()
        return whole, rest
