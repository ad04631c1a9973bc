"""Pools of connections to the Package Manager, one for each identity."""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
from asyncio import sslproto
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import aiohttp

from ppmproxy.auth.credential import Credential
from ppmproxy.config.model import Upstream
from ppmproxy.upstream.connector import Connector, response_handler
from ppmproxy.upstream.preconnect import OPENED_WITHIN, Preconnections

if TYPE_CHECKING:
    from aiohttp.connector import Connection

READ_AT_ONCE = 10 << 14  # bytes from a TLS connection, ten records; asyncio's own value is 256 KiB
READ_BUFFER = 1 << 17  # bytes per connection; at twice as many the upstream is told to wait
LARGEST_HEADER = 1 << 16
MOST_IDENTITIES = 8  # whose connections are kept
NOBODY = ""  # the identity of requests without a token
LARGEST_CLOCK_GAP = 5.0  # seconds by which wall and monotonic clock may part; more means that the machine slept

if sys.version_info >= (3, 11):
    # A connection keeps three times as many: asyncio's buffer, OpenSSL's, and what its client has not read yet.
    sslproto.SSLProtocol.max_size = READ_AT_ONCE

_OURS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")  # aiohttp would add values of its own


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
        self._preconnections = Preconnections(upstream.origin, clock, min(OPENED_WITHIN, upstream.connect_timeout))
        self._pools: dict[str, Pool] = {}  # by identity, the one used last at the end

    def preconnect(self, tls: ssl.SSLContext, count: int) -> None:
        """Open connections for the first requests, whoever's they are: none has carried a token yet."""
        factory = partial(response_handler, asyncio.get_running_loop())
        self._preconnections.open(factory, tls, min(count, self._upstream.max_connections))

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
        self._preconnections.close()
        while self._pools:  # a request that ends meanwhile may close old ones, too
            _, pool = self._pools.popitem()
            await pool.session.close()

    def distrust_idle(self) -> None:
        """Never again use a connection that is idle now."""
        self._preconnections.close()
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
        connector = Connector(self._upstream, self._preconnections, self._clock)
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
