"""How the stand-in puts an answer on the wire, and how it fails to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from ppmproxy.testing.package_manager.faults import CloseBeforeHead, Cut, Delay, NoAnswer, Stall, Trickle, Unsized

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ppmproxy.testing.package_manager.answers import FakeResponse
    from ppmproxy.testing.package_manager.faults import Before, Delivery
    from ppmproxy.testing.package_manager.seen import ReceivedRequest

ON_ITS_WAY = 0.05  # seconds; a reset overtakes bytes that the client has not read yet
LINGER_ZERO = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


@dataclass(frozen=True)
class Wire:
    """One request's way back."""

    request: web.BaseRequest
    seen: ReceivedRequest
    released: asyncio.Event


async def wait_before(wire: Wire, how: Before) -> web.StreamResponse | None:
    """Misbehave before there is an answer; None when one may follow."""
    match how:
        case NoAnswer():
            await wire.released.wait()
        case Delay():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(wire.released.wait(), how.seconds)
        case CloseBeforeHead():
            hang_up(wire.request.transport, reset=how.reset)
            return web.Response()
    return None


async def send(wire: Wire, answer: FakeResponse, how: Delivery | None = None) -> web.StreamResponse:
    """Send an answer, rightly or wrongly."""
    has_body = wire.request.method != "HEAD" and answer.status not in (204, 304)
    response = web.StreamResponse(status=answer.status, reason=answer.reason)
    for name, value in answer.headers:
        response.headers.add(name, value)
    if answer.content.size is not None and not isinstance(how, Unsized):
        response.content_length = answer.content.size
    elif has_body and wire.request.version >= (1, 1):
        response.enable_chunked_encoding()
    wire.seen.status = answer.status
    await response.prepare(wire.request)
    if has_body:
        await _Body(wire, response).send(answer.content.pieces(), how)
    return response


def hang_up(transport: asyncio.Transport | None, *, reset: bool) -> None:
    """End a connection: with a reset, or as if all had been said."""
    if transport is None:
        return
    if not reset:
        transport.close()
        return
    peer = transport.get_extra_info("socket")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
    transport.abort()


@dataclass(frozen=True)
class _Body:
    wire: Wire
    response: web.StreamResponse

    async def send(self, pieces: Iterator[bytes], how: Delivery | None) -> None:
        match how:
            case Cut():
                await self._write(_first(pieces, how.after))
                await asyncio.sleep(ON_ITS_WAY)
                hang_up(self.wire.request.transport, reset=how.reset)
            case Stall():
                await self._stall(pieces, how.after)
            case Trickle():
                await self._trickle(pieces, how)
            case _:
                await self._write(pieces)

    async def _write(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self.wire.seen.sent += len(piece)
            await self.response.write(piece)

    async def _stall(self, pieces: Iterator[bytes], after: int) -> None:
        for piece in pieces:
            now = max(0, after - self.wire.seen.sent)
            await self._write([piece[:now]])
            if now < len(piece):
                await self.wire.released.wait()
                await self._write([piece[now:]])

    async def _trickle(self, pieces: Iterator[bytes], how: Trickle) -> None:
        for piece in pieces:
            for at in range(0, len(piece), how.piece):
                await asyncio.sleep(how.every)
                await self._write([piece[at : at + how.piece]])


def _first(pieces: Iterator[bytes], count: int) -> Iterator[bytes]:
    for piece in pieces:
        if count <= 0:
            return
        yield piece[:count]
        count -= len(piece)
