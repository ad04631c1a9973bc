"""Delivering a prepared response to the client, no faster than the client reads."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aiohttp import HttpVersion11, web
from multidict import CIMultiDict

from ppmproxy.auth.redaction import Redactor
from ppmproxy.errors import UpstreamError, UpstreamTimeoutError
from ppmproxy.index.routing import ResourceKind
from ppmproxy.server import headers
from ppmproxy.server.client_progress import ClientProgress
from ppmproxy.server.error_responses import header_text
from ppmproxy.server.preparing import NO_BODY, PreparedResponse
from ppmproxy.server.request_record import CLIENT_STALLED, RequestRecord
from ppmproxy.server.waiting import SILENCE
from ppmproxy.upstream.messages import Headers

TAKEN_AT_ONCE = 1 << 15  # bytes of a body; asyncio's buffer makes the writer wait beyond twice as many


@dataclass(frozen=True, slots=True)
class DeliveryLimits:
    """Seconds."""

    silence: float = SILENCE  # of the upstream, after which it is at fault when the client leaves
    stall: float = 60.0  # without a byte taken by the client, after which it is cut


@dataclass(slots=True)
class Delivery:
    """A response on its way to the client."""

    request: web.BaseRequest
    prepared: PreparedResponse
    record: RequestRecord
    redactor: Redactor
    record_stall: Callable[[str, float], None]  # why, and how many seconds the upstream was silent
    limits: DeliveryLimits = DeliveryLimits()
    _awaited_since: float | None = None  # when the upstream's next bytes began to be awaited, on the loop's clock
    _relay_left: Callable[[], int] | None = None  # while the body goes straight from connection to connection

    async def send(self) -> web.StreamResponse:
        """Send head and body; a body that ends too early cuts the connection."""
        body = self.prepared.body
        if isinstance(body, bytes) and self._is_taken_at_once(body):
            return await self._send_whole(body)
        reader = ClientProgress(self.request.transport, self.limits.stall, self._handed_over)
        try:
            return await (self._send_whole(body) if isinstance(body, bytes) else self._stream(body))
        except (ConnectionError, asyncio.CancelledError):
            if reader.has_stalled:
                self.record.code = CLIENT_STALLED
                self.record.detail = f"the client took nothing for {self.limits.stall:g} s"
            raise
        finally:
            reader.close()

    def _is_taken_at_once(self, body: bytes) -> bool:
        """Whether the connection takes a body without waiting for its client."""
        transport = self.request.transport
        is_empty = isinstance(transport, asyncio.WriteTransport) and transport.get_write_buffer_size() == 0
        return is_empty and len(body) <= TAKEN_AT_ONCE

    def _handed_over(self) -> int:
        """Bytes of the body that were written for the client."""
        return self.record.sent - (self._relay_left() if self._relay_left else 0)

    async def _send_whole(self, body: bytes) -> web.StreamResponse:
        response = web.Response(body=body, **self._head())
        await self._send_head(response)
        self.record.sent = self.record.length = len(body)
        await response.write_eof()
        return response

    async def _stream(self, chunks: AsyncIterator[bytes] | None) -> web.StreamResponse:
        received = self.prepared.received
        response = web.StreamResponse(**self._head())
        await self._send_head(response)
        self.record.length = response.content_length
        if self.request.method == "HEAD" or received.status in NO_BODY:
            return response
        try:
            if chunks is None and received.has_large_rest and not response.chunked:
                await self._relay(response)
            else:
                await self._copy(response, chunks or received.chunks())
        except UpstreamError as error:
            self._record_error(error)
            cut(self.request)
        except (ConnectionError, asyncio.CancelledError):
            self._record_silence()
            raise
        return response

    async def _copy(self, response: web.StreamResponse, chunks: AsyncIterator[bytes]) -> None:
        clock = asyncio.get_running_loop().time
        await self._write(response, self._taken_start())
        self._awaited_since = clock()
        async for chunk in chunks:
            self._awaited_since = None
            await self._write(response, chunk)
            self._awaited_since = clock()

    def _taken_start(self) -> bytes:
        """The start of the body, which is not kept while the rest is sent."""
        start = b"".join(self.prepared.start)
        self.prepared.start.clear()
        return start

    async def _write(self, response: web.StreamResponse, chunk: bytes) -> None:
        self.record.sent += len(chunk)  # first: a client that has all of it may leave before this comes back
        await response.write(chunk)

    async def _relay(self, response: web.StreamResponse) -> None:
        """Hand a large body on from connection to connection."""
        await response.write(self._taken_start() or await self.prepared.received.chunk())  # brings the head along
        client = self.request.transport
        if client is None:
            raise ConnectionResetError("the client has left")
        with self.prepared.received.relay_to(client) as relay:
            self._relay_left = lambda: relay.left
            try:
                while relay.left:
                    await relay.relay_until_blocked()
                    if client.is_closing() and relay.left:
                        raise ConnectionResetError("the client has left")
                    await self.request.writer.drain()
            finally:
                self._relay_left = None
                self._awaited_since = relay.awaited_since
                self.record.sent = (response.content_length or 0) - relay.left

    def _record_error(self, error: UpstreamError) -> None:
        self.record.code, self.record.detail, self.record.is_cut = error.code, str(error), True
        if isinstance(error, UpstreamTimeoutError):
            self.record_stall(str(error), self._silent_for())

    def _record_silence(self) -> None:
        """A client that leaves while the upstream is silent leaves because of that."""
        silent_for = self._silent_for()
        if silent_for >= self.limits.silence:
            what = (
                f"{self.prepared.target.upstream.url} sent nothing for {silent_for:.0f} s in the middle of its response"
            )
            self.record.code, self.record.detail = UpstreamTimeoutError.code, what
            self.record_stall(what, silent_for)

    def _silent_for(self) -> float:
        return 0.0 if self._awaited_since is None else asyncio.get_running_loop().time() - self._awaited_since

    # --- the head ---

    def _head(self) -> dict[str, Any]:
        received = self.prepared.received
        reason = received.reason if self.prepared.reason is None else self.prepared.reason
        return {
            "status": received.status,
            "reason": header_text(self.redactor.text(reason)),
            "headers": CIMultiDict([*self._headers(), *headers.AGAINST_BROWSERS]),
        }

    def _headers(self) -> Headers:
        received = self.prepared.received
        is_page = self.prepared.target.kind is ResourceKind.INDEX_PAGE
        # A cache puts a 304's headers on the page that it has, and could not read that if we had unpacked it.
        is_rewritten = self.prepared.is_rewritten or (is_page and received.status == HTTPStatus.NOT_MODIFIED)
        found = headers.to_client(received.headers, is_rewritten=is_rewritten, is_page=is_page)
        return [*found, ("Cache-Status", f"ppmproxy; {received.cache}")] if received.cache else found

    async def _send_head(self, response: web.StreamResponse) -> None:
        self.record.cache = self.prepared.received.cache
        await response.prepare(self.request)
        self.record.status = self.prepared.received.status  # from here on an error can only cut the connection


def cut(request: web.BaseRequest) -> None:
    """Close the client's connection without the end that it waits for, so that it knows the body is not whole."""
    transport = request.transport
    if isinstance(transport, asyncio.WriteTransport) and request.version < HttpVersion11:
        # Without chunks the end of the connection would be the end of the body, so it is reset.
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    elif transport is not None:
        transport.close()
