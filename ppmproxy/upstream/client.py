"""A client for one Package Manager: sends requests, follows redirects, repeats what may be repeated.

Redirects are followed here, hop by hop, because a redirect that reaches the client makes it resolve later links against
the new place, and because whether the token goes along is decided anew for each hop (`auth.policy`). aiohttp's own
handling of redirects, cookies, proxies and decompression is switched off.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from ppmproxy.auth.policy import authorization_for, may_carry_token
from ppmproxy.config.model import Upstream
from ppmproxy.errors import UpstreamError
from ppmproxy.upstream import redirects
from ppmproxy.upstream.connections import ConnectionPools
from ppmproxy.upstream.errors_map import explain_tls_failure, map_exception
from ppmproxy.upstream.forward_proxy import proxy_for
from ppmproxy.upstream.messages import UpstreamRequest, UpstreamResponse
from ppmproxy.upstream.network_response import NetworkResponse
from ppmproxy.upstream.retries import may_pass, retry_delays
from ppmproxy.upstream.tls import Trust


@dataclass(frozen=True, slots=True)
class _Sessions:
    """Which connections a request may use, on the upstream and elsewhere."""

    own: aiohttp.ClientSession = field(repr=False)
    foreign: aiohttp.ClientSession = field(repr=False)


class UpstreamClient:
    """Connections to one upstream, and to where it redirects; to be closed."""

    def __init__(
        self,
        upstream: Upstream,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises `ConfigError` when a certificate file cannot be used. Needs a running event loop."""
        self._upstream = upstream
        self._sleep = sleep
        self._clock = clock
        self._own_trust = Trust(upstream, with_client_certificate=True)
        self._foreign_trust = Trust(upstream, with_client_certificate=False)
        self._own_trust.context()
        self._pools = ConnectionPools(upstream)

    async def close(self) -> None:
        """Close every connection."""
        await self._pools.close()

    @asynccontextmanager
    async def send(self, request: UpstreamRequest) -> AsyncIterator[UpstreamResponse]:
        """Send, follow redirects, and yield the last response; then its connection is given back, or closed if unread.

        Raises `UpstreamError` and its kin; no foreign exception passes.
        """
        async with self._pools.session_for(request.credential) as own, self._pools.session_for(None) as foreign:
            response = await self._follow(request, _Sessions(own, foreign))
            try:
                yield response
            finally:
                response.release()

    async def _follow(self, request: UpstreamRequest, sessions: _Sessions) -> NetworkResponse:
        url, carried_token = request.url, False
        for _hop in range(redirects.MAX_HOPS + 1):
            response = await self._attempts(request, url, sessions)
            carried_token |= self._authorization_for(request, url) is not None
            location = response.headers.get("Location")
            if response.status not in redirects.STATUSES or location is None:
                return NetworkResponse(
                    response.status,
                    response.reason or "",
                    response.headers,
                    url,
                    request.credential,
                    carried_token,
                    wire=response,
                    read_timeout=self._upstream.read_timeout,
                )
            response.close()  # its connection only when the body is still on its way
            url = redirects.next_hop(request, self._upstream, url, location)
        raise redirects.too_many_hops(self._upstream)

    async def _attempts(self, request: UpstreamRequest, url: str, sessions: _Sessions) -> aiohttp.ClientResponse:
        """One hop, tried again where that is safe and the failure came quickly: clients do not wait for long."""
        for delay in retry_delays(request):
            began = self._clock()
            try:
                response = await self._send_once(request, url, sessions)
            except UpstreamError as error:
                if not may_pass(error, self._clock() - began):
                    raise
            else:
                if not may_pass(response.status, self._clock() - began):
                    return response
                response.close()
            await self._sleep(delay * (1 + random.random()))  # noqa: S311 - jitter, no secret
        return await self._send_once(request, url, sessions)

    async def _send_once(self, request: UpstreamRequest, url: str, sessions: _Sessions) -> aiohttp.ClientResponse:
        is_own = may_carry_token(url, self._upstream.url)
        session, trust = (sessions.own, self._own_trust) if is_own else (sessions.foreign, self._foreign_trust)
        tls = trust.context()
        try:
            return await session.request(
                request.method,
                URL(url, encoded=True),
                headers=self._headers_for(request, url),
                data=request.body,
                allow_redirects=False,
                proxy=proxy_for(url, self._upstream.proxy),
                ssl=tls,
            )
        except (aiohttp.ClientSSLError, ssl.SSLError) as error:
            raise await explain_tls_failure(error, url, self._upstream) from error
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            raise map_exception(error, url) from error

    def _headers_for(self, request: UpstreamRequest, url: str) -> CIMultiDict[str]:
        headers = CIMultiDict(request.headers)
        authorization = self._authorization_for(request, url)
        if authorization is not None:
            headers["Authorization"] = authorization
        if may_carry_token(url, self._upstream.url):
            headers.update(self._upstream.headers)
        return headers

    def _authorization_for(self, request: UpstreamRequest, url: str) -> str | None:
        return authorization_for(url, self._upstream.url, request.credential, request.scheme)
