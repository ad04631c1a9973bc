"""Decoder of content codings, in bounded memory and bounded steps.

RFC 9110 section 8.4: ``gzip`` (RFC 1952), ``deflate`` (zlib, RFC 1950; some servers send it raw, RFC 1951) and
``identity``. A name that is no registered coding (``UTF-8``, ``aws-chunked``) says nothing about a body, and what
follows the end of a coded body is ignored, both as in clients.
"""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Iterable, Iterator

PIECE = 1 << 17  # bytes given out at once
STEP = 1 << 14  # bytes decoded at once: they may have no output at all, and take 2 ms
MOST_WITHOUT_OUTPUT = 1 << 16  # bytes
MOST_MEMBERS = 1000  # of one body: each costs as much as some kilobytes of text, even if it is empty
MOST_CODINGS = 5  # of one body

READABLE = frozenset({"gzip", "x-gzip", "deflate"})
# The other names in IANA's registry of content codings: such a body cannot be read.
_UNREADABLE = frozenset({"aes128gcm", "br", "compress", "dcb", "dcz", "exi", "pack200-gzip", "x-compress", "zstd"})

_NOT_IN_TEXT = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")

_GZIP = 16 + zlib.MAX_WBITS
_MEMBER = b"\x1f\x8b\x08"  # what each member of gzip begins with: RFC 1952 section 2.3.1


class BrokenCodingError(ValueError):
    """The body is not in the codings that its header names, or was cut."""


def codings_of(content_encoding: Iterable[str]) -> tuple[str, ...]:
    """The codings that header lines name, in the order in which they were applied; without ``identity``."""
    names = (name.strip().lower() for line in content_encoding for name in line.split(","))
    return tuple(name for name in names if name not in {"", "identity"})


def unreadable(codings: Iterable[str]) -> str:
    """The first coding that is registered and cannot be undone here; empty if there is none."""
    return next((name for name in codings if name in _UNREADABLE), "")


def is_plain_text(start: bytes) -> bool:
    """Whether a body that begins so is text in no coding: without control characters, and in UTF-8."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(start)  # it may end within a character
    except UnicodeDecodeError:
        return False
    return _NOT_IN_TEXT.search(text) is None


def decoded_start(start: bytes, codings: tuple[str, ...]) -> bytes:
    """What the start of a body begins with once it is decoded; empty if it is not in these codings."""
    try:
        return next(filter(None, Decoder(codings).feed(start)), b"")
    except BrokenCodingError:
        return b""


class Decoder:
    """Undoes the codings of one body."""

    def __init__(self, codings: tuple[str, ...]) -> None:
        """`codings` in the order in which they were applied; what is not `READABLE` is taken for the identity."""
        self._layers = [_CodingLayer(name) for name in codings if name in READABLE][::-1]

    @property
    def has_ignored(self) -> bool:
        """Whether something followed the coded body that is not part of it; zeros do not count."""
        return any(layer.has_ignored for layer in self._layers)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Decoded pieces of one chunk, some of them empty, each after a short step; `BrokenCodingError`."""
        if len(self._layers) > MOST_CODINGS:
            raise BrokenCodingError("the page is compressed too many times over")
        return self._through(self._layers, chunk)

    def close(self) -> None:
        """To be called at the end of the body; `BrokenCodingError` if it came too early."""
        for layer in self._layers:
            layer.close()

    def _through(self, layers: list[_CodingLayer], chunk: bytes) -> Iterator[bytes]:
        if not layers:
            if chunk:
                yield chunk
            return
        for piece in layers[0].feed(chunk):
            if piece:
                yield from self._through(layers[1:], piece)
            else:
                yield piece


class _CodingLayer:
    """Undoes one coding."""

    def __init__(self, coding: str) -> None:
        self.has_ignored = False  # something that followed the last member
        self._coding = coding
        self._inflater: zlib._Decompress | None = None
        self._members = 0
        self._member_start = b""  # of another member, maybe
        self._without_output = 0  # bytes read since there was some

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        for at in range(0, len(chunk), STEP):
            yield from self._feed_step(chunk[at : at + STEP])

    def close(self) -> None:
        if self._inflater is not None:
            raise BrokenCodingError("the compressed page was cut short")
        self.has_ignored |= bool(self._member_start)

    def _feed_step(self, step: bytes) -> Iterator[bytes]:
        is_full = False  # a full piece may leave output behind even where all input is consumed
        while step or is_full:
            if self._inflater is None:
                step = self._next_start(step)
                if not step:
                    return
                self._inflater = self._next_member(step[0])
            inflater = self._inflater
            try:
                piece = inflater.decompress(step, PIECE)
            except zlib.error as error:
                raise BrokenCodingError(f"the page is not {self._coding}, as it says") from error
            rest = inflater.unconsumed_tail or inflater.unused_data
            self._check_output(piece, len(step) - len(rest))
            yield piece
            step = rest
            is_full = len(piece) == PIECE and not inflater.eof
            if inflater.eof:
                self._inflater = None  # gzip may go on with another member, RFC 1952 section 2.2

    def _next_start(self, step: bytes) -> bytes:
        """The step from where the next member begins; empty if none begins in it. Some servers fill up with zeros."""
        if not self._members:
            return step
        start = self._member_start + (step if self._member_start else step.lstrip(b"\0"))
        may_be_member = self._coding != "deflate" and not self.has_ignored and start.startswith(_MEMBER[: len(start)])
        if may_be_member and len(start) >= len(_MEMBER):
            self._member_start = b""
            return start
        self._member_start = start if may_be_member else b""
        self.has_ignored |= bool(start) and not may_be_member
        return b""

    def _check_output(self, piece: bytes, consumed: int) -> None:
        self._without_output = 0 if piece else self._without_output + consumed
        if self._without_output > MOST_WITHOUT_OUTPUT:
            raise BrokenCodingError("the compressed page has nothing in it")

    def _next_member(self, first: int) -> zlib._Decompress:
        self._members += 1
        if self._members > MOST_MEMBERS:
            raise BrokenCodingError(f"the page is compressed in more than {MOST_MEMBERS} pieces")
        return zlib.decompressobj(self._window(first))

    def _window(self, first: int) -> int:
        if self._coding != "deflate":
            return _GZIP
        # The zlib header's low four bits say "deflate" (8); a raw stream that begins so is a stored block with padding
        # bits set, which no encoder writes.
        return zlib.MAX_WBITS if first & 0x0F == 8 else -zlib.MAX_WBITS  # noqa: PLR2004
