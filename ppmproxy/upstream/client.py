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
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from ppmproxy.auth.origin import Origin
from ppmproxy.auth.policy import authorization_for, may_carry_token
from ppmproxy.auth.redaction import Redactor
from ppmproxy.config.model import Upstream
from ppmproxy.errors import ConnectionRejectedError, OfflineError, UpstreamError
from ppmproxy.upstream import redirects
from ppmproxy.upstream.connections import ConnectionPools, Pool
from ppmproxy.upstream.connector import CURRENT_ATTEMPT, Attempt
from ppmproxy.upstream.errors_map import map_exception
from ppmproxy.upstream.forward_proxy import proxy_for, split_credentials
from ppmproxy.upstream.messages import UpstreamRequest, UpstreamResponse
from ppmproxy.upstream.network_response import NetworkResponse
from ppmproxy.upstream.racing import race
from ppmproxy.upstream.reachability import Reachability
from ppmproxy.upstream.retries import NO_RETRIES, PATIENCE, Moment, delay_after_error, delay_after_response, may_pass
from ppmproxy.upstream.tls import Trust
from ppmproxy.upstream.tls_failures import explain_tls_failure

MOST_ORIGINS = 64  # of which is remembered whether they can be reached


@dataclass(frozen=True, slots=True)
class _PlannedRequest:
    """A request, which connections it may use on the upstream, and until when it is repeated."""

    request: UpstreamRequest
    own: Pool
    deadline: float


@dataclass(frozen=True, slots=True)
class _Hop:
    """A request on its way to one URL."""

    request: UpstreamRequest
    url: str
    pool: Pool
    trust: Trust
    reachability: Reachability
    proxy: str | None = None
    proxy_headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def attempt(self, *, only_fresh: bool = False) -> Attempt:
        """A new attempt at it."""
        return Attempt(only_fresh=only_fresh, connected=self.reachability.record_connection)


class UpstreamClient:
    """Connections to one upstream, and to where it redirects; to be closed."""

    def __init__(
        self,
        upstream: Upstream,
        redactor: Redactor | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`redactor` masks what servers say. Needs a running event loop.

        Raises `ConfigError` when a certificate file cannot be used.
        """
        self.on_response: Callable[[float], None] = lambda _seconds: None  # after which the head of a response came
        self._upstream = upstream
        self._redactor = redactor or Redactor()
        self._sleep = sleep
        self._clock = clock
        self._wall = wall
        self._own_trust = Trust(upstream, with_client_certificate=True)
        self._foreign_trust = Trust(upstream, with_client_certificate=False)
        self._own_trust.context()
        self._pools = ConnectionPools(upstream, clock, wall)
        self._reachability = Reachability(clock, sleep)
        self._others: dict[Origin, Reachability] = {}  # where redirects led, the last one at the end

    async def close(self) -> None:
        """Close every connection."""
        await self._pools.close()

    def distrust_idle(self) -> None:
        """Never again use a connection that is idle now: the network has changed."""
        self._pools.distrust_idle()

    def preconnect(self, count: int) -> None:
        """Open so many connections for the first requests; nothing is sent on them, and no failure is reported."""
        with suppress(ConnectionRejectedError):  # of a forward proxy that cannot be used, as each request will say
            if not self._upstream.offline and proxy_for(self._upstream.url, self._upstream.proxy) is None:
                self._pools.preconnect(self._own_trust.context(), count)

    @asynccontextmanager
    async def send(self, request: UpstreamRequest, deadline: float | None = None) -> AsyncIterator[UpstreamResponse]:
        """Send, follow redirects, and yield the last response; then its connection is given back, or closed if unread.

        A GET or HEAD that fails in a way that may pass is repeated until the deadline, on the monotonic clock, but for
        `PATIENCE` and `read_timeout` at most. Raises `UpstreamError` and its kin; no foreign exception passes.
        """
        if self._upstream.offline:
            what = f"offline = true, so ppmproxy sends no request to {self._upstream.url}"
            raise OfflineError(what, "set offline = false")
        asked_at = self._clock()
        limit = asked_at + min(PATIENCE, self._upstream.read_timeout)
        if not request.is_repeatable:
            deadline = NO_RETRIES
        deadline = min(limit if deadline is None else deadline, limit)
        own = self._pools.acquire(request.credential)
        try:
            response = await self._follow(_PlannedRequest(request, own, deadline))
            answered_after = self._clock() - asked_at
            try:
                yield response
            finally:
                response.release()
                self.on_response(answered_after)
        finally:
            await self._pools.release(own)

    async def _follow(self, planned: _PlannedRequest) -> NetworkResponse:
        request, url, has_carried_token = planned.request, planned.request.url, False
        for _hop in range(redirects.MAX_HOPS + 1):
            response = await self._send_until_deadline(planned, url)
            has_carried_token |= request.credential is not None and may_carry_token(url, self._upstream.url)
            location = response.headers.get("Location")
            is_redirect = response.status in redirects.STATUSES and location is not None
            if location is not None and is_redirect and self._redactor.is_in_url(location):
                response.close()
                raise redirects.to_a_secret(url)
            if location is None or not (is_redirect and request.follows_redirects):
                return NetworkResponse(
                    response.status,
                    self._redactor.server_text(response.reason or ""),
                    self._fields_of(response),
                    url,
                    request.credential,
                    has_carried_token,
                    self._redactor,
                    wire=response,
                    read_timeout=self._upstream.read_timeout,
                )
            response.close()  # its connection only when the body is still on its way
            url = redirects.next_hop(request, self._upstream, url, location)
        raise redirects.too_many_hops(self._upstream)

    def _fields_of(self, response: aiohttp.ClientResponse) -> CIMultiDictProxy[str]:
        fields = list(response.headers.items())
        masked = self._redactor.server_headers(fields)
        return response.headers if masked == fields else CIMultiDictProxy(CIMultiDict(masked))

    async def _send_until_deadline(self, planned: _PlannedRequest, url: str) -> aiohttp.ClientResponse:
        """One hop, repeated while that may help; the last response or error counts."""
        hop = self._hop_to(url, planned)
        send = partial(self._send_once, hop)
        attempts = 0
        while True:
            attempts += 1
            try:
                response = await hop.reachability.send(send, planned.deadline, is_proxied=hop.proxy is not None)
            except UpstreamError as error:
                delay = delay_after_error(error, self._moment(planned, attempts))
                if delay is None:
                    raise
            else:
                if not may_pass(response.status):
                    return response
                delay = delay_after_response(response.status, response.headers, self._moment(planned, attempts))
                if delay is None:
                    return response
                response.close()
            await self._sleep(delay)

    def _hop_to(self, url: str, planned: _PlannedRequest) -> _Hop:
        proxy = proxy_for(url, self._upstream.proxy)
        forward_proxy = split_credentials(proxy) if proxy is not None else ()
        if may_carry_token(url, self._upstream.url):
            return _Hop(planned.request, url, planned.own, self._own_trust, self._reachability, *forward_proxy)
        origin = Origin.of(url)
        reachability = self._others.pop(origin, None) or Reachability(self._clock, self._sleep)
        self._others[origin] = reachability
        while len(self._others) > MOST_ORIGINS:
            del self._others[next(iter(self._others))]
        return _Hop(planned.request, url, self._pools.foreign, self._foreign_trust, reachability, *forward_proxy)

    def _moment(self, planned: _PlannedRequest, attempts: int) -> Moment:
        jitter = random.random()  # noqa: S311 - no secret
        return Moment(attempts, planned.deadline - self._clock(), jitter, self._wall())

    async def _send_once(self, hop: _Hop) -> aiohttp.ClientResponse:
        """The response over a pooled connection, or over a fresh one where the pooled one proves to have ended."""
        first = hop.attempt()
        if not hop.request.is_repeatable:
            return await self._request(hop, first)
        try:
            if hop.pool.connector.has_doubtful():
                response = await race(partial(self._request, hop), first, hop.attempt(only_fresh=True))
            else:
                response = await self._request(hop, first)
        except UpstreamError as error:
            if not (first.is_reused and error.may_pass):
                raise
        else:
            if not (first.is_reused and response.status == HTTPStatus.REQUEST_TIMEOUT):
                return response
            response.close()  # the server closes an idle connection (RFC 9110 section 15.5.9), it rejects no request
        return await self._request(hop, hop.attempt(only_fresh=True))

    async def _request(self, hop: _Hop, attempt: Attempt) -> aiohttp.ClientResponse:
        tls = hop.trust.context()
        CURRENT_ATTEMPT.set(attempt)
        try:
            return await hop.pool.session.request(
                hop.request.method,
                _as_written(hop.url),
                headers=self._headers_for(hop),
                data=hop.request.body,
                allow_redirects=False,
                proxy=hop.proxy,
                proxy_headers=hop.proxy_headers,
                ssl=tls,
            )
        except (aiohttp.ClientSSLError, ssl.SSLError) as error:
            hop.trust.connection_failed()
            raise await explain_tls_failure(error, hop.url, self._upstream, self._redactor) from error
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            is_redirected = not may_carry_token(hop.url, self._upstream.url)
            raise map_exception(error, hop.url, self._upstream.proxy, is_redirected=is_redirected) from error

    def _headers_for(self, hop: _Hop) -> CIMultiDict[str]:
        headers = CIMultiDict(hop.request.headers)
        authorization = self._authorization_for(hop.request, hop.url)
        if authorization is not None:
            headers["Authorization"] = authorization
        if may_carry_token(hop.url, self._upstream.url):
            headers.update(self._upstream.headers)
        if hop.url.startswith("http:"):
            headers.update(hop.proxy_headers)  # there is no CONNECT that could have them
        return headers

    def _authorization_for(self, request: UpstreamRequest, url: str) -> str | None:
        return authorization_for(url, self._upstream.url, request.credential, request.scheme)


def _as_written(url: str) -> URL:
    """A URL of which no byte changes on the wire: an empty query, which yarl drops, is part of its path."""
    parsed = URL(url, encoded=True)
    if url.find("?") != len(url) - 1:
        return parsed
    return URL.build(scheme=parsed.scheme, authority=parsed.raw_authority, path=f"{parsed.raw_path}?", encoded=True)
