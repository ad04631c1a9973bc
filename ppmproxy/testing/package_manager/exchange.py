"""The life of one request at the stand-in: misbehave, or read it, find the right answer and send it."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import PayloadEncodingError

from ppmproxy.testing.package_manager.faults import (
    Before,
    CloseBeforeHead,
    Delivery,
    Status,
    WrongEncoding,
    wrong_answer,
    wrongly_encoded,
)
from ppmproxy.testing.package_manager.routes import right_answer
from ppmproxy.testing.package_manager.seen import receive
from ppmproxy.testing.package_manager.wire import send, wait_before

if TYPE_CHECKING:
    from ppmproxy.testing.package_manager.faults import Fault
    from ppmproxy.testing.package_manager.site import Site
    from ppmproxy.testing.package_manager.wire import Wire


async def reply(site: Site, wire: Wire, how: Fault | None) -> web.StreamResponse:
    """Answer one request; a client that goes away is remembered, and is no error."""
    try:
        return await _reply(site, wire, how)
    except (ConnectionError, ssl.SSLError, ClientPayloadError, PayloadEncodingError):
        wire.seen.left = True
        return web.Response()


async def _reply(site: Site, wire: Wire, how: Fault | None) -> web.StreamResponse:
    if isinstance(how, Before):
        if isinstance(how, CloseBeforeHead):
            await receive(wire.request, wire.seen, how.after)
        hung_up = await wait_before(wire, how)
        if hung_up is not None:
            return hung_up
    if isinstance(how, Status) and how.early:
        return await send(wire, wrong_answer(how, wire.seen))
    body = await receive(wire.request, wire.seen)
    if how is not None and not isinstance(how, Delivery):
        return await send(wire, wrong_answer(how, wire.seen))
    answer = await right_answer(site, wire.seen, body)
    if isinstance(how, WrongEncoding):
        answer = wrongly_encoded(answer, how.encoding)
    return await send(wire, answer, how)
