"""The way of a large body from the upstream's connection straight to the client's.

To change how large files are handed on, open this file.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import aiohttp

from ppmproxy.upstream.errors_map import map_exception

TLS_RECORD = 1 << 14  # bytes that one carries at most (RFC 8446 section 5.1)
PIECE = 1 << 16  # bytes that are handed on at once if need be; more where TLS has more


@dataclass(frozen=True, slots=True)
class Source:
    """Where a body comes from."""

    url: str
    read_timeout: float  # seconds without a byte of it


class BodyRelay(asyncio.BufferedProtocol):
    """The way of the rest of a large body, from the upstream's connection straight to the client's.

    aiohttp copies each piece several times and takes several turns of the event loop for it, which for large files is a
    quarter of all work. Here TLS decrypts into the very buffer that the client is sent. As far as aiohttp's protocol
    knows, the connection is in the middle of an answer for ever, so it is closed in the end.
    """

    def __init__(
        self, connection: asyncio.Transport, client: asyncio.WriteTransport, left: int, source: Source
    ) -> None:
        self.left = left  # bytes that have not been handed on yet
        self._source = source
        self._connection = connection
        self._client = client
        self._most_unsent = client.get_write_buffer_limits()[1]
        self._buffer = memoryview(b"")
        self._halted = asyncio.Event()
        self._is_cut = False
        self._clock = asyncio.get_running_loop().time
        self._heard_at = self._clock()
        self._before = connection.get_protocol()
        connection.set_protocol(self)

    def close(self) -> None:
        """End the connection: at once, because on Python 3.10 TLS does not say goodbye while reading is paused."""
        self._connection.set_protocol(self._before)
        self._connection.abort()

    async def relay_until_blocked(self) -> None:
        """Hand on what arrives until the client has to catch up or nothing is left; `UpstreamError` if it is cut."""
        self._halted.clear()
        self._heard_at = self._clock()
        if not self._is_cut:
            self._limit_reading(None)
            self._connection.resume_reading()
        while not (self._halted.is_set() or self._is_cut):
            patience = self._heard_at + self._source.read_timeout - self._clock()
            if patience <= 0:
                raise map_exception(asyncio.TimeoutError(), self._source.url)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._halted.wait(), patience)
        if self._is_cut and self.left:
            raise map_exception(aiohttp.ClientPayloadError(), self._source.url)

    # what asyncio says

    def get_buffer(self, sizehint: int) -> memoryview:
        # All that is there is taken at once: what asyncio's TLS still has when the upstream hangs up, it drops. It may
        # have a record more than it says.
        size = max(PIECE, sizehint + TLS_RECORD)
        if len(self._buffer) < size:
            self._buffer = memoryview(bytearray(size))
        return self._buffer[: self.left] if self.left else self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._heard_at = self._clock()
        if not self.left or self._client.is_closing():
            self._halt()  # this is more than was announced, or for nobody
            return
        self.left -= nbytes
        self._client.write(self._buffer[:nbytes])
        unsent = self._client.get_write_buffer_size()
        if unsent:
            self._buffer = memoryview(b"")  # since Python 3.12 what is unsent still lies in the old one
        if not self.left or unsent > self._most_unsent:
            self._halt()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_cut = True
        self._halted.set()
        self._before.connection_lost(exc)

    def _halt(self) -> None:
        self._connection.pause_reading()
        self._limit_reading(0)
        self._halted.set()

    def _limit_reading(self, high: int | None) -> None:
        """Bound what asyncio's TLS reads ahead while nothing is taken from it (None: its own 256 KiB)."""
        if hasattr(self._connection, "set_read_buffer_limits"):
            self._connection.set_read_buffer_limits(high)
