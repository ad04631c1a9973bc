"""The form of a request head, checked before it is parsed (RFC 9112 sections 3 and 5).

aiohttp has two parsers, in C and in Python, and each accepts heads that the other refuses: `RTSP/1.0`, two blanks in
the request line, a method in lower case, a body that is chunked twice. Both read a head that is accepted here in the
same way. So a body is announced once: by a length, or as chunked and nothing else (RFC 9112 section 6).
"""

from __future__ import annotations

import re

MALFORMED = b"\0\r\n\r\n"  # no parser accepts it, wherever in a head it comes
_END = b"\r\n\r\n"
MAX_DIGITS = 18  # of a length
_TLS_HANDSHAKE = b"\x16\x03"  # the type of a record and the first byte of its version (RFC 8446 section 5.1)
_MAX_HEAD = 1 << 17  # bytes that are kept for a check; the connection refuses a smaller head already

_HEAD = re.compile(
    rb"[A-Z][A-Z0-9_-]* [\x21-\x7e\x80-\xff]+ HTTP/(?:0\.9|1\.[01]|2\.0)\r\n"  # the versions that there are
    rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)*"
    rb"\r\n"
)
_FRAMING = re.compile(rb"\r\n(content-length|transfer-encoding):[ \t]*([^\r\n]*)", re.IGNORECASE)


def is_well_formed(head: bytes) -> bool:
    """Whether a head, with the empty line at its end, has the form that both parsers accept."""
    return _HEAD.fullmatch(head) is not None


class HeadScanner:
    """Finds the heads in the bytes that a client sends, and checks each."""

    def __init__(self) -> None:
        self._head = bytearray()  # the beginning of one that is not complete
        self._body_left = 0
        self.is_tls = False  # the client takes the URL's scheme for https
        self.has_lost_track = False  # after a body whose length only a parser can tell: the connection is to be closed

    def checked(self, data: bytes) -> bytes:
        """The data for the parser; from the end of a malformed head on it is replaced by `MALFORMED`."""
        if not self._head and not self._body_left and _HEAD.fullmatch(data) and not _FRAMING.search(data):
            return data  # one whole head, as almost always
        at = 0
        while at < len(data) and not self.has_lost_track:
            if self._body_left:
                taken = min(self._body_left, len(data) - at)
                self._body_left -= taken
                at += taken
                continue
            if not self._head and data.startswith(b"\r\n", at):
                at += 2  # a server should ignore empty lines before the request line (RFC 9112 section 2.2)
                continue
            if not self._head and data.startswith(_TLS_HANDSHAKE, at):
                self.is_tls = True
                return data[:at] + MALFORMED
            before = len(self._head)
            self._head += data[at:]
            end = self._head.find(_END, max(0, before - len(_END)))
            if end < 0:
                self.has_lost_track = len(self._head) > _MAX_HEAD
                break
            head = bytes(self._head[: end + len(_END)])
            self._head.clear()
            if not is_well_formed(head) or not self._expects_body(head):
                return data[:at] + MALFORMED
            at += len(head) - before
        return data

    def _expects_body(self, head: bytes) -> bool:
        """Note the body that follows a head; False where two parsers could see its end in two places."""
        framing = _FRAMING.findall(head)
        if not framing:
            return True
        (name, value), *others = framing
        value = value.strip(b" \t")
        if others:
            return False
        if name.lower() == b"transfer-encoding":
            self.has_lost_track = True
            return bool(value.lower() == b"chunked")
        if not value.isdigit() or len(value) > MAX_DIGITS:
            return False
        self._body_left = int(value)
        return True
