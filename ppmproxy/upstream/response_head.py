"""Response heads that repeat an equal Content-Length, which clients take for one."""

from __future__ import annotations

import re
from typing import Any, Final

from aiohttp.client_proto import ResponseHandler

LONGEST_HEAD: Final = 1 << 16  # bytes
_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\nContent-Length:([^\r\n]*)", re.IGNORECASE)
_INTERIM: Final = re.compile(rb"HTTP/1\.[01] 1(?!01)")  # RFC 9110 section 15.2


class LenientResponseHandler(ResponseHandler):
    """aiohttp's handler, whose parser refuses a head with two Content-Length lines even if they are equal.

    RFC 9110 section 8.6 lets a recipient take equal ones for one.
    """

    _head: bytes | None = None  # what came of a response's head; None where none is expected

    def set_response_params(self, **params: Any) -> None:
        """Expect the head of a response: called for each request."""
        self._head = b""
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Pass a head on once it is whole, and everything else at once."""
        if self._head is None:
            super().data_received(data)
            return
        head, self._head = self._head + data, None
        end = head.find(_END)
        if end < 0 and len(head) < LONGEST_HEAD:
            self._head = head
        elif end >= 0 and _INTERIM.match(head):
            end += len(_END)
            super().data_received(head[:end])
            self._head = b""
            if head[end:]:
                self.data_received(head[end:])
        else:
            super().data_received(mended(head[:end]) + head[end:] if end >= 0 else head)

    def eof_received(self) -> None:
        """Pass on the beginning of a head that does not go on."""
        self._pass_incomplete()
        super().eof_received()

    def connection_lost(self, reason: BaseException | None) -> None:
        """The same where the connection breaks."""
        self._pass_incomplete()
        super().connection_lost(reason)

    def _pass_incomplete(self) -> None:
        head, self._head = self._head, None
        if head:
            super().data_received(head)


def mended(head: bytes) -> bytes:
    """A head with one Content-Length in place of several equal ones.

    Of different ones it makes a list, which both of aiohttp's parsers refuse; one of them would take the first line.
    """
    lines = _LENGTH.findall(head)
    if not lines or (len(lines) == 1 and b"," not in lines[0]):
        return head
    values = {value.strip() for line in lines for value in line.split(b",")}
    without: bytes = _LENGTH.sub(b"", head)
    return without + b"\r\nContent-Length: " + b", ".join(sorted(values))
