"""Choice of the connection for a request: a pooled one that was checked, a preconnected one, or a new one."""

from __future__ import annotations

import asyncio
import select
import ssl
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import aiohttp

from ppmproxy.auth.origin import Origin
from ppmproxy.config.model import Upstream
from ppmproxy.upstream.bodiless import BodilessResponseHandler
from ppmproxy.upstream.preconnect import Preconnected, Preconnections
from ppmproxy.upstream.response_head import LenientResponseHandler

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

KEPT_OPEN = 15.0  # seconds an idle connection is kept
DOUBTFUL_AFTER = 5.0  # seconds idle; a VPN or NAT that changed meanwhile drops packets without a word


@dataclass(slots=True)
class Attempt:
    """One attempt to send a request: which connection it may use, and which one it was given."""

    only_fresh: bool = False
    idle_for: float | None = None  # seconds; None for a fresh connection, or when there is none yet
    connected: Callable[[], None] = field(default=lambda: None, repr=False)  # called when a fresh connection is made

    @property
    def is_reused(self) -> bool:
        """Whether its connection was idle, so that the server may have closed it meanwhile."""
        return self.idle_for is not None

    @property
    def is_doubtful(self) -> bool:
        """Whether its connection was idle for so long that it may be dead."""
        return self.idle_for is not None and self.idle_for >= DOUBTFUL_AFTER


CURRENT_ATTEMPT: ContextVar[Attempt] = ContextVar("CURRENT_ATTEMPT")  # aiohttp hands nothing else through to `connect`


class Connector(aiohttp.TCPConnector):
    """Makes connections within `connect_timeout`, and reuses one only after a check of it.

    aiohttp's own limits are for each address of a host and leave out its name servers, or include the wait for a free
    connection. Its documentation has `_create_connection` as the method to override.
    """

    def __init__(
        self, upstream: Upstream, preconnections: Preconnections, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(limit=upstream.max_connections, keepalive_timeout=KEPT_OPEN)
        self._factory = partial(response_handler, self._loop)
        self._connect_timeout = upstream.connect_timeout
        self._preconnections = preconnections
        self._clock = clock
        self._fresh: set[ResponseHandler] = set()  # made, and not handed out yet
        self._released_at: dict[ResponseHandler, float] = {}  # idle ones that may be used again, oldest first

    def has_doubtful(self) -> bool:
        """Whether a request may be given a connection that is doubtful."""
        now = self._clock()
        self._forget_closed(now)
        released_at = next(iter(self._released_at.values()), now)
        return now - released_at >= DOUBTFUL_AFTER

    def _forget_closed(self, now: float) -> None:
        """Forget connections that were idle for too long: nothing else does where each request has a fresh one."""
        while self._released_at:
            protocol, released_at = next(iter(self._released_at.items()))
            if now - released_at <= KEPT_OPEN:
                return
            del self._released_at[protocol]

    def distrust_idle(self) -> None:
        """Never again use a connection that is idle now."""
        self._released_at.clear()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """A fresh connection, or a pooled one that was checked."""
        attempt = CURRENT_ATTEMPT.get()
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            assert protocol is not None  # noqa: S101 - it is neither released nor closed yet
            if protocol in self._fresh:
                self._fresh.remove(protocol)
                attempt.idle_for = None
                attempt.connected()
                break
            idle_for = self._clock() - self._released_at.pop(protocol, float("-inf"))
            if not attempt.only_fresh and idle_for <= KEPT_OPEN and is_clean(protocol):
                attempt.idle_for = idle_for
                break
            connection.close()
        connection.add_callback(partial(self._note_release, protocol))
        return connection

    def _note_release(self, protocol: ResponseHandler) -> None:
        now = self._clock()
        self._forget_closed(now)
        if not protocol.should_close:  # else it is closed, now or before it is used again
            self._released_at[protocol] = now

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        if (opened := await self._preconnected(req)) is not None:
            self._released_at[opened.protocol] = opened.opened_at
            return opened.protocol
        protocol = await asyncio.wait_for(super()._create_connection(req, traces, timeout), self._connect_timeout)
        self._fresh.add(protocol)
        return protocol

    async def _preconnected(self, req: aiohttp.ClientRequest) -> Preconnected | None:
        """A connection that was opened for a request like this one, which counts as idle since then."""
        if CURRENT_ATTEMPT.get().only_fresh or req.proxy is not None or not isinstance(req.ssl, ssl.SSLContext):
            return None
        return await self._preconnections.take(Origin.of(str(req.url)), req.ssl)


class WireHandler(LenientResponseHandler, BodilessResponseHandler):
    """aiohttp's handler for responses of real servers; heads are whole when the second one gets them."""

    def connection_lost(self, reason: BaseException | None) -> None:
        """Mark the error with which it ended as retrieved; asyncio would log it where nobody waits for the end."""
        super().connection_lost(reason)
        closed = self.closed
        if closed is not None and not closed.cancelled():
            closed.exception()


def response_handler(loop: asyncio.AbstractEventLoop) -> ResponseHandler:
    """The protocol of a new connection."""
    return WireHandler(loop)


def is_clean(protocol: ResponseHandler) -> bool:
    """Whether nothing was received on an idle connection since the last response ended, its end included.

    Such bytes are no response, and the connection is to be closed (RFC 9112 section 9.2); aiohttp would take them for
    the response to the next request. Whole responses stand in its queue, where `should_close` sees them; the beginning
    of one is in its parser.
    """
    parser = protocol._parser  # noqa: SLF001 - nothing public shows it
    if protocol.should_close or getattr(parser, "_tail", None):
        return False
    if parser is None:  # there was no response yet; what was received all the same makes it `should_close`
        return not is_readable(protocol.transport)
    try:
        is_between_messages = parser.feed_eof() is None  # the next request gets a parser of its own
    except Exception:  # noqa: BLE001 - whatever the parser makes of it
        return False
    return is_between_messages and not is_readable(protocol.transport)


def is_readable(transport: asyncio.BaseTransport | None) -> bool:
    """Whether something has arrived that the event loop has not read yet, or the connection has ended."""
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is None or sock.fileno() < 0:
        return True
    if sys.platform == "win32":  # where select() takes any number of a descriptor
        return bool(select.select([sock], [], [], 0)[0])
    else:  # noqa: RET505 - mypy takes what follows a return for unreachable on the other platforms
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLIN)
        return bool(poll.poll(0))
