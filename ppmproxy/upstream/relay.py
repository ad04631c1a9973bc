"""Relay of a large body from the upstream's connection to the client's, past aiohttp's buffers."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import aiohttp

from ppmproxy.upstream.errors_map import map_exception

TLS_RECORD = 1 << 14  # bytes at most (RFC 8446 section 5.1)
PIECE = 1 << 16  # bytes that are read at once; more where TLS has more


@dataclass(frozen=True, slots=True)
class BodySource:
    """Where a body comes from."""

    url: str
    read_timeout: float  # seconds without a byte of it


class BodyRelay(asyncio.BufferedProtocol):
    """Hands the rest of a large body from the upstream's connection to the client's.

    aiohttp copies each piece several times and takes several turns of the event loop for it, which for large files is a
    quarter of all work. Here TLS decrypts into the buffer that is sent to the client. aiohttp's protocol does not learn
    that the response has ended, so the connection cannot be reused and is closed.
    """

    def __init__(
        self, connection: asyncio.Transport, client: asyncio.WriteTransport, left: int, source: BodySource
    ) -> None:
        self.left = left  # bytes that have not been handed on yet
        self._source = source
        self._connection = connection
        self._client = client
        self._high_water = client.get_write_buffer_limits()[1]
        self._buffer = memoryview(b"")
        self._blocked = asyncio.Event()
        self._is_cut = False
        self._clock = asyncio.get_running_loop().time
        self._received_at = self._clock()
        self._aiohttp_protocol = connection.get_protocol()
        connection.set_protocol(self)

    def close(self) -> None:
        """Close the connection without TLS's close_notify: Python 3.10 does not send one while reading is paused."""
        self._connection.set_protocol(self._aiohttp_protocol)
        self._connection.abort()

    @property
    def awaited_since(self) -> float | None:
        """Since when the source has sent nothing, on the event loop's clock; None while the client has to catch up."""
        return None if self._blocked.is_set() else self._received_at

    async def relay_until_blocked(self) -> None:
        """Hand on what arrives until the client has to catch up or nothing is left; `UpstreamError` if it is cut."""
        self._blocked.clear()
        self._received_at = self._clock()
        if not self._is_cut:
            self._limit_reading(None)
            self._connection.resume_reading()
        while not (self._blocked.is_set() or self._is_cut):
            patience = self._received_at + self._source.read_timeout - self._clock()
            if patience <= 0:
                raise map_exception(asyncio.TimeoutError(), self._source.url)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._blocked.wait(), patience)
        if self._is_cut and self.left:
            raise map_exception(aiohttp.ClientPayloadError(), self._source.url)

    # --- asyncio's callbacks ---

    def get_buffer(self, sizehint: int) -> memoryview:
        # Everything is read at once: asyncio's TLS drops what it still holds when the upstream closes the connection.
        # It may hold one record more than `sizehint`.
        size = max(PIECE, sizehint + TLS_RECORD)
        if len(self._buffer) < size:
            self._buffer = memoryview(bytearray(size))
        return self._buffer[: self.left] if self.left else self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._received_at = self._clock()
        if not self.left or self._client.is_closing():
            self._block()
            return
        self.left -= nbytes
        self._client.write(self._buffer[:nbytes])
        unsent = self._client.get_write_buffer_size()
        if unsent:
            self._buffer = memoryview(b"")  # since Python 3.12 the transport keeps the old one until it is sent
        if not self.left or unsent > self._high_water:
            self._block()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_cut = True
        self._blocked.set()
        self._aiohttp_protocol.connection_lost(exc)

    def _block(self) -> None:
        self._connection.pause_reading()
        self._limit_reading(0)
        self._blocked.set()

    def _limit_reading(self, high: int | None) -> None:
        """Limit what asyncio's TLS reads ahead while nothing is read from it (None: its own 256 KiB)."""
        if hasattr(self._connection, "set_read_buffer_limits"):
            self._connection.set_read_buffer_limits(high)
