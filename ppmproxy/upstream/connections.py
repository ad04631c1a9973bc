"""Pools of connections to the Package Manager, one for each identity."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp

from ppmproxy.auth.credential import Credential
from ppmproxy.config.model import Upstream

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.tracing import Trace

READ_BUFFER = 1 << 17  # bytes per connection; at twice as many the upstream is told to wait
LARGEST_HEADER = 1 << 16
MOST_IDENTITIES = 8  # whose connections are kept
NOBODY = ""  # the identity of requests without a token
KEPT_OPEN = 30.0  # seconds an idle connection is kept

_OURS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")  # aiohttp would add values of its own


class Connector(aiohttp.TCPConnector):
    """Makes connections, and takes no longer for one than `connect_timeout` allows.

    aiohttp's own limits are for each address of a host and leave out its name servers, or include the wait for a free
    connection. Its documentation has this method as the one to override.
    """

    def __init__(self, upstream: Upstream) -> None:
        super().__init__(limit=upstream.max_connections, keepalive_timeout=KEPT_OPEN)
        self._connect_timeout = upstream.connect_timeout

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        return await asyncio.wait_for(super()._create_connection(req, traces, timeout), self._connect_timeout)


@dataclass(slots=True)
class _Pool:
    """The connections that were opened for one identity."""

    session: aiohttp.ClientSession = field(repr=False)
    in_use: int = 0


class ConnectionPools:
    """One pool for each identity, the latest `MOST_IDENTITIES` of them; to be closed.

    A connection that was opened with somebody's token never carries a request of another's.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._pools: dict[str, _Pool] = {}  # by identity, the one used last at the end

    @asynccontextmanager
    async def session_for(self, credential: Credential | None) -> AsyncIterator[aiohttp.ClientSession]:
        """The session whose connections a request with this credential may use; it stays open that long."""
        identity = credential.identity if credential is not None else NOBODY
        pool = self._pools.pop(identity, None) or _Pool(_new_session(self._upstream))
        self._pools[identity] = pool
        pool.in_use += 1
        try:
            yield pool.session
        finally:
            pool.in_use -= 1
            await self._close_old_pools()

    async def close(self) -> None:
        """Close every connection."""
        for pool in self._pools.values():
            await pool.session.close()
        self._pools.clear()

    async def _close_old_pools(self) -> None:
        old = list(self._pools)[:-MOST_IDENTITIES]
        for identity in [identity for identity in old if not self._pools[identity].in_use]:
            await self._pools.pop(identity).session.close()


def _new_session(upstream: Upstream) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=Connector(upstream),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        requote_redirect_url=False,
        skip_auto_headers=_OURS,
        read_bufsize=READ_BUFFER,
        max_line_size=LARGEST_HEADER,
        max_field_size=LARGEST_HEADER,
        timeout=aiohttp.ClientTimeout(total=None, sock_read=upstream.read_timeout),
    )
