"""A response that is read from a connection to the Package Manager."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import aiohttp

from ppmproxy.upstream.connections import WireResponse
from ppmproxy.upstream.errors_map import map_exception
from ppmproxy.upstream.messages import UpstreamResponse
from ppmproxy.upstream.relay import BodyRelay, BodySource

LARGE_REST = 1 << 25  # bytes still to come of a body from which a `BodyRelay` is worth the connection


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkResponse(UpstreamResponse):
    """An `UpstreamResponse` whose body is on the wire."""

    wire: aiohttp.ClientResponse = field(repr=False)
    read_timeout: float  # seconds without a byte of the body

    async def chunk(self) -> bytes:
        """See `UpstreamResponse`."""
        try:
            chunk = await self.wire.content.readany()
            if not chunk and isinstance(self.wire, WireResponse) and self.wire.is_cut:
                raise aiohttp.ClientPayloadError
            return chunk  # noqa: TRY300
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise map_exception(error, self.url) from error

    @property
    def has_large_rest(self) -> bool:
        """See `UpstreamResponse`."""
        length = self.wire.content_length
        return length is not None and length - self.wire.content.total_bytes >= LARGE_REST

    @contextmanager
    def relay_to(self, client: asyncio.WriteTransport) -> Iterator[BodyRelay]:
        """Hand the rest of the body to a client past aiohttp; costs the connection to the upstream."""
        connection, content = self.wire.connection, self.wire.content
        try:
            if connection is None or connection.transport is None:
                raise aiohttp.ClientPayloadError
            while chunk := content.read_nowait():
                client.write(chunk)
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise map_exception(error, self.url) from error
        left = (self.wire.content_length or 0) - content.total_bytes
        relay = BodyRelay(connection.transport, client, left, BodySource(self.url, self.read_timeout))
        try:
            yield relay
        finally:
            relay.close()

    def release(self) -> None:
        """Give the connection back to its pool, or close it when half a body is left on it."""
        if not self.wire.content.at_eof():
            self.wire.close()
        self.wire.release()
