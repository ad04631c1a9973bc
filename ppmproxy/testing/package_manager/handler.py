"""Handling of one request at the fake Package Manager: the fault that applies, or the correct response."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import PayloadEncodingError

from ppmproxy.testing.package_manager.faults import (
    CloseBeforeHead,
    DeliveryFault,
    HeadFault,
    Status,
    WrongEncoding,
    faulty_response,
    mislabelled,
)
from ppmproxy.testing.package_manager.received import receive
from ppmproxy.testing.package_manager.routes import correct_response
from ppmproxy.testing.package_manager.sending import carry_out, send

if TYPE_CHECKING:
    from ppmproxy.testing.package_manager.faults import Fault
    from ppmproxy.testing.package_manager.sending import Exchange
    from ppmproxy.testing.package_manager.server_state import ServerState


async def handle(server: ServerState, exchange: Exchange, fault: Fault | None) -> web.StreamResponse:
    """Respond to one request; a client that closes its connection early is recorded, not raised."""
    try:
        return await _respond(server, exchange, fault)
    except (ConnectionError, ssl.SSLError, ClientPayloadError, PayloadEncodingError):
        exchange.received.client_left = True
        return web.Response()


async def _respond(server: ServerState, exchange: Exchange, fault: Fault | None) -> web.StreamResponse:
    if isinstance(fault, HeadFault):
        if isinstance(fault, CloseBeforeHead):
            await receive(exchange.request, exchange.received, fault.after)
        closed = await carry_out(exchange, fault)
        if closed is not None:
            return closed
    if isinstance(fault, Status) and fault.early:
        return await send(exchange, faulty_response(fault, exchange.received))
    body = await receive(exchange.request, exchange.received)
    if fault is not None and not isinstance(fault, DeliveryFault):
        return await send(exchange, faulty_response(fault, exchange.received))
    response = await correct_response(server, exchange.received, body)
    if isinstance(fault, WrongEncoding):
        response = mislabelled(response, fault.encoding)
    return await send(exchange, response, fault)
