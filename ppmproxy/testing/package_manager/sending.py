"""Sending of responses, correctly or with a fault."""

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

    from ppmproxy.testing.package_manager.faults import DeliveryFault, HeadFault
    from ppmproxy.testing.package_manager.received import ReceivedRequest
    from ppmproxy.testing.package_manager.responses import FakeResponse

RESET_DELAY = 0.05  # seconds; a reset makes the client lose bytes that it has not read yet
LINGER_ZERO = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


@dataclass(frozen=True)
class Exchange:
    """One request, its record, and the event that releases what is held back."""

    request: web.BaseRequest
    received: ReceivedRequest
    released: asyncio.Event


async def carry_out(exchange: Exchange, fault: HeadFault) -> web.StreamResponse | None:
    """Carry out a fault that comes before the head; None when the response is to follow."""
    match fault:
        case NoAnswer():
            await exchange.released.wait()
        case Delay():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(exchange.released.wait(), fault.seconds)
        case CloseBeforeHead():
            close_connection(exchange.request.transport, reset=fault.reset)
            return web.Response()
    return None


async def send(exchange: Exchange, fake: FakeResponse, fault: DeliveryFault | None = None) -> web.StreamResponse:
    """Send a response, with a fault or without."""
    has_body = exchange.request.method != "HEAD" and fake.status not in (204, 304)
    response = web.StreamResponse(status=fake.status, reason=fake.reason)
    for name, value in fake.headers:
        response.headers.add(name, value)
    if fake.content.size is not None and not isinstance(fault, Unsized):
        response.content_length = fake.content.size
    elif has_body and exchange.request.version >= (1, 1):
        response.enable_chunked_encoding()
    exchange.received.status = fake.status
    await response.prepare(exchange.request)
    if has_body:
        await _Body(exchange, response).send(fake.content.pieces(), fault)
    return response


def close_connection(transport: asyncio.Transport | None, *, reset: bool) -> None:
    """End a connection with a reset, or in order."""
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
    exchange: Exchange
    response: web.StreamResponse

    async def send(self, pieces: Iterator[bytes], fault: DeliveryFault | None) -> None:
        match fault:
            case Cut():
                await self._write(_first(pieces, fault.after))
                await asyncio.sleep(RESET_DELAY)
                close_connection(self.exchange.request.transport, reset=fault.reset)
            case Stall():
                await self._stall(pieces, fault.after)
            case Trickle():
                await self._trickle(pieces, fault)
            case _:
                await self._write(pieces)

    async def _write(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self.exchange.received.sent += len(piece)
            await self.response.write(piece)

    async def _stall(self, pieces: Iterator[bytes], after: int) -> None:
        for piece in pieces:
            now = max(0, after - self.exchange.received.sent)
            await self._write([piece[:now]])
            if now < len(piece):
                await self.exchange.released.wait()
                await self._write([piece[now:]])

    async def _trickle(self, pieces: Iterator[bytes], fault: Trickle) -> None:
        for piece in pieces:
            for at in range(0, len(piece), fault.piece):
                await asyncio.sleep(fault.every)
                await self._write([piece[at : at + fault.piece]])


def _first(pieces: Iterator[bytes], count: int) -> Iterator[bytes]:
    for piece in pieces:
        if count <= 0:
            return
        yield piece[:count]
        count -= len(piece)
