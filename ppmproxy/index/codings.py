"""Content codings of pages, undone piece by piece.

To change in which compressed forms a page can be read, open this file (and `headers.DECODABLE` with it).

RFC 9110 section 8.4: ``gzip`` (RFC 1952), ``deflate`` (zlib, RFC 1950; some servers send it raw, RFC 1951) and
``identity``. The output comes in bounded pieces, so that a small body that inflates to a huge one stays flat in memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

PIECE = 1 << 17  # bytes given out at once
READABLE = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})

_GZIP = 16 + zlib.MAX_WBITS


class BrokenCodingError(ValueError):
    """The body is not in the coding that its header names, or was cut."""


class Decoder:
    """Undoes one content coding of one body."""

    def __init__(self, coding: str) -> None:
        """`coding` is the value of ``Content-Encoding``; it must be one of `READABLE`."""
        self._coding = coding
        self._inflater: zlib._Decompress | None = None

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Decoded pieces of one chunk; `BrokenCodingError` when it cannot be decoded."""
        if self._coding in {"", "identity"}:
            if chunk:
                yield chunk
            return
        is_full = False  # a full piece may leave output behind even where all input is consumed
        while chunk or is_full:
            inflater = self._current(chunk)
            try:
                piece = inflater.decompress(chunk, PIECE)
            except zlib.error as error:
                raise BrokenCodingError(f"the page is not {self._coding}, as it says") from error
            if piece:
                yield piece
            chunk = inflater.unconsumed_tail or inflater.unused_data
            is_full = len(piece) == PIECE and not inflater.eof
            if inflater.eof:
                self._inflater = None  # gzip may go on with another member, RFC 1952 section 2.2

    def close(self) -> None:
        """To be called at the end of the body; `BrokenCodingError` when it came too early."""
        if self._inflater is not None and not self._inflater.eof:
            raise BrokenCodingError("the compressed page was cut short")

    def _current(self, chunk: bytes) -> zlib._Decompress:
        if self._inflater is None:
            self._inflater = zlib.decompressobj(self._window(chunk[0]))
        return self._inflater

    def _window(self, first: int) -> int:
        if self._coding != "deflate":
            return _GZIP
        # The zlib header's low four bits say "deflate" (8); a raw stream that begins so is a stored block with padding
        # bits set, which no encoder writes.
        return zlib.MAX_WBITS if first & 0x0F == 8 else -zlib.MAX_WBITS  # noqa: PLR2004
