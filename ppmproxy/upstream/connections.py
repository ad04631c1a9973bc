"""Pools of connections to the Package Manager, one for each identity, and the check before a connection is reused."""

from __future__ import annotations

import asyncio
import select
import sys
import time
from asyncio import sslproto
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import aiohttp

from ppmproxy.auth.credential import Credential
from ppmproxy.config.model import Upstream
from ppmproxy.upstream.bodiless import BodilessResponseHandler
from ppmproxy.upstream.response_head import LenientResponseHandler

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

READ_AT_ONCE = 10 << 14  # bytes from a TLS connection, ten records; asyncio's own value is 256 KiB
READ_BUFFER = 1 << 17  # bytes per connection; at twice as many the upstream is told to wait
LARGEST_HEADER = 1 << 16
MOST_IDENTITIES = 8  # whose connections are kept
NOBODY = ""  # the identity of requests without a token
KEPT_OPEN = 15.0  # seconds an idle connection is kept
DOUBTFUL_AFTER = 5.0  # seconds idle; a VPN or NAT that changed meanwhile drops packets without a word
LARGEST_CLOCK_GAP = 5.0  # seconds by which wall and monotonic clock may part; more means that the machine slept

if sys.version_info >= (3, 11):
    # A connection keeps three times as many: asyncio's buffer, OpenSSL's, and what its client has not read yet.
    sslproto.SSLProtocol.max_size = READ_AT_ONCE

_OURS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")  # aiohttp would add values of its own


@dataclass(slots=True)
class Attempt:
    """One attempt to send a request: which connection it may use, and which one it was given."""

    only_fresh: bool = False
    idle_for: float | None = None  # seconds; None for a fresh connection, or when there is none yet
    connected: Callable[[], None] = field(default=lambda: None, repr=False)  # called when a fresh connection is made

    @property
    def is_reused(self) -> bool:
        """Whether its connection has carried another request before."""
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

    def __init__(self, upstream: Upstream, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(limit=upstream.max_connections, keepalive_timeout=KEPT_OPEN)
        self._factory = partial(_response_handler, self._loop)
        self._connect_timeout = upstream.connect_timeout
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
        protocol = await asyncio.wait_for(super()._create_connection(req, traces, timeout), self._connect_timeout)
        self._fresh.add(protocol)
        return protocol


class WireResponse(aiohttp.ClientResponse):
    """aiohttp's response, with the end of its connection: a reset looks like the end of a body without a length."""

    _ending: asyncio.Future[None] | None = None

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        if connection.protocol is not None:
            self._ending = connection.protocol.closed
        return await super().start(connection)

    @property
    def is_cut(self) -> bool:
        """Whether the connection, whose end is the body's end, was lost by an error (RFC 9112 section 8)."""
        is_delimited = self.content_length is not None or "Transfer-Encoding" in self.headers
        ending = None if is_delimited else self._ending
        return ending is not None and ending.done() and not ending.cancelled() and ending.exception() is not None


class WireHandler(LenientResponseHandler, BodilessResponseHandler):
    """aiohttp's handler for responses of real servers; heads are whole when the second one gets them."""

    def connection_lost(self, reason: BaseException | None) -> None:
        """Mark the error with which it ended as retrieved; asyncio would log it where nobody waits for the end."""
        super().connection_lost(reason)
        closed = self.closed
        if closed is not None and not closed.cancelled():
            closed.exception()


def _response_handler(loop: asyncio.AbstractEventLoop) -> ResponseHandler:
    return WireHandler(loop)


def is_clean(protocol: ResponseHandler) -> bool:
    """Whether nothing was received on an idle connection since the last response ended, its end included.

    Such bytes are no response, and the connection is to be closed (RFC 9112 section 9.2); aiohttp would take them for
    the response to the next request. Whole responses stand in its queue, where `should_close` sees them; the beginning
    of one is in its parser.
    """
    parser = protocol._parser  # noqa: SLF001 - nothing public shows it
    if protocol.should_close or parser is None or getattr(parser, "_tail", None):
        return False
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


@dataclass(slots=True)
class Pool:
    """The connections that were opened for one identity."""

    session: aiohttp.ClientSession = field(repr=False)
    connector: Connector
    in_use: int = 0


class ConnectionPools:
    """One pool for each identity, the latest `MOST_IDENTITIES` of them; to be closed.

    A connection that was opened with somebody's token never carries a request of another's. No connection outlives a
    sleep of the machine, during which the other end may have forgotten it.
    """

    def __init__(
        self, upstream: Upstream, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self._upstream = upstream
        self._clock = clock
        self._wall = wall
        self._clock_gap = wall() - clock()
        self._pools: dict[str, Pool] = {}  # by identity, the one used last at the end

    def acquire(self, credential: Credential | None) -> Pool:
        """The connections that a request with this credential may use; they stay open until its `release`."""
        self._distrust_after_sleep()
        pool = self._latest(credential.identity if credential is not None else NOBODY)
        pool.in_use += 1
        return pool

    async def release(self, pool: Pool) -> None:
        """The request is over."""
        pool.in_use -= 1
        if len(self._pools) > MOST_IDENTITIES:
            await self._close_old_pools()

    @property
    def foreign(self) -> Pool:
        """The connections of requests without a credential and to where redirects lead; open until the end."""
        return self._latest(NOBODY)

    def _latest(self, identity: str) -> Pool:
        """The pool of an identity, which counts as the one used last."""
        pool = self._pools.pop(identity, None) or self._new_pool()
        self._pools[identity] = pool
        return pool

    async def close(self) -> None:
        """Close every connection."""
        while self._pools:  # a request that ends meanwhile may close old ones, too
            _, pool = self._pools.popitem()
            await pool.session.close()

    def distrust_idle(self) -> None:
        """Never again use a connection that is idle now."""
        for pool in self._pools.values():
            pool.connector.distrust_idle()

    def _distrust_after_sleep(self) -> None:
        gap = self._wall() - self._clock()
        if abs(gap - self._clock_gap) > LARGEST_CLOCK_GAP:
            self.distrust_idle()
            self._clock_gap = gap

    async def _close_old_pools(self) -> None:
        old = list(self._pools)[:-MOST_IDENTITIES]
        for identity in [one for one in old if one != NOBODY and not self._pools[one].in_use]:
            await self._pools.pop(identity).session.close()

    def _new_pool(self) -> Pool:
        connector = Connector(self._upstream, self._clock)
        session = aiohttp.ClientSession(
            connector=connector,
            response_class=WireResponse,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            requote_redirect_url=False,
            skip_auto_headers=_OURS,
            read_bufsize=READ_BUFFER,
            max_line_size=LARGEST_HEADER,
            max_field_size=LARGEST_HEADER,
            timeout=aiohttp.ClientTimeout(total=None, sock_read=self._upstream.read_timeout),
        )
        session._retry_connection = False  # noqa: SLF001 - it would send a GET again, which `retries` decides
        return Pool(session, connector)
