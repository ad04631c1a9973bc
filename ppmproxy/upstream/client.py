"""The way out: one pool, system trust, retries, redirects.

To change how the upstream is reached, open this file.

Redirects are followed here, hop by hop, because a redirect that reaches the client makes it resolve later links against
the new place, and because whether the token goes along is decided anew for each hop (`authorization`). aiohttp's own
handling of redirects, cookies, proxies and decompression is switched off.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from ppmproxy.auth.credential import Credential
from ppmproxy.auth.origin import Origin
from ppmproxy.auth.policy import Scheme, authorization_for, may_carry_token
from ppmproxy.config.model import Upstream
from ppmproxy.errors import UpstreamError, UpstreamUnexpectedError
from ppmproxy.index.routing import may_be_redirected_to
from ppmproxy.upstream.errors_map import explain_tls_failure, map_exception
from ppmproxy.upstream.forward_proxy import proxy_for
from ppmproxy.upstream.relay import BodyRelay, Source
from ppmproxy.upstream.tls import Trust

Headers = list[tuple[str, str]]  # names and values, in order, repeated names included

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.tracing import Trace

MAX_HOPS = 10
REDIRECTS = frozenset({301, 302, 303, 307, 308})
RETRIED_STATUSES = frozenset({502, 503, 504})
RETRY_DELAYS = (0.1, 0.5)  # seconds before the second and the third attempt, with up to as much again in jitter
AT_ONCE = 2.0  # seconds; pip gives up after 15, and then it is not told why
READ_BUFFER = 1 << 17  # bytes per connection; at twice as many the upstream is told to wait
LARGE_REST = 1 << 25  # bytes still to come of a body from which a `BodyRelay` is worth the connection
LARGEST_HEADER = 1 << 16
MOST_IDENTITIES = 8  # whose connections are kept
NOBODY = ""  # the identity of requests without a token
KEPT_OPEN = 30.0  # seconds an idle connection is kept

_OURS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")  # aiohttp would add values of its own


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One request for the upstream, before it is decided hop by hop what authorizes it."""

    method: str
    url: str
    headers: Headers
    credential: Credential | None = None
    scheme: Scheme = Scheme.BEARER
    body: bytes | AsyncIterator[bytes] | None = None

    @property
    def is_repeatable(self) -> bool:
        """Whether sending it twice does no harm (RFC 9110 section 9.2.2)."""
        return self.method in {"GET", "HEAD"}


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """The head of an answer, and its body still on the wire."""

    response: aiohttp.ClientResponse = field(repr=False)
    url: str  # where it finally came from
    carried_token: bool  # at any hop; a redirect from there means that it was taken
    read_timeout: float  # seconds without a byte of the body
    credential: Credential | None = field(default=None, repr=False)  # the one that was offered

    @property
    def status(self) -> int:
        return self.response.status

    @property
    def reason(self) -> str:
        return self.response.reason or ""

    @property
    def headers(self) -> Headers:
        return list(self.response.headers.items())

    def header(self, name: str) -> str | None:
        return self.response.headers.get(name)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, as it arrives; `UpstreamError` when it is cut short or stalls."""
        while chunk := await self.chunk():
            yield chunk

    async def chunk(self) -> bytes:
        """What has arrived of the body and was not given out yet, b"" at its end; errors as for `chunks`."""
        try:
            return await self.response.content.readany()
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise map_exception(error, self.url) from error

    @property
    def has_large_rest(self) -> bool:
        """Whether so much of the body is still to come that a `BodyRelay` is worth it."""
        length = self.response.content_length
        return length is not None and length - self.response.content.total_bytes >= LARGE_REST

    @contextmanager
    def relay_to(self, client: asyncio.WriteTransport) -> Iterator[BodyRelay]:
        """Hand the rest of a body of known length to a client, past aiohttp; costs the upstream's connection."""
        connection, content = self.response.connection, self.response.content
        try:
            if connection is None or connection.transport is None:
                raise aiohttp.ClientPayloadError
            while chunk := content.read_nowait():
                client.write(chunk)
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise map_exception(error, self.url) from error
        left = (self.response.content_length or 0) - content.total_bytes
        relay = BodyRelay(connection.transport, client, left, Source(self.url, self.read_timeout))
        try:
            yield relay
        finally:
            relay.close()


class _Connector(aiohttp.TCPConnector):
    """Makes connections, and takes no longer for one than `connect_timeout` allows.

    aiohttp's own limits are for each address of a host and leave out its name servers, or include the wait for a free
    connection. Its documentation has this method as the one to override.
    """

    def __init__(self, upstream: Upstream) -> None:
        super().__init__(limit=upstream.max_connections, keepalive_timeout=KEPT_OPEN)
        self._patience = upstream.connect_timeout

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        return await asyncio.wait_for(super()._create_connection(req, traces, timeout), self._patience)


@dataclass(slots=True)
class _Pool:
    """The connections that were opened for one identity."""

    session: aiohttp.ClientSession = field(repr=False)
    in_use: int = 0


@dataclass(frozen=True, slots=True)
class _Pools:
    """Which connections a request may use, on the upstream and elsewhere."""

    own: aiohttp.ClientSession = field(repr=False)
    foreign: aiohttp.ClientSession = field(repr=False)


class UpstreamClient:
    """Connections to one upstream, and to where it redirects; to be closed.

    Each identity has its own: a connection that was opened with somebody's token never carries a request of another's.
    """

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
        self._pools: dict[str, _Pool] = {}  # by identity, the one used last at the end

    def _new_session(self) -> aiohttp.ClientSession:
        upstream = self._upstream
        return aiohttp.ClientSession(
            connector=_Connector(upstream),
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

    async def close(self) -> None:
        """Close every connection."""
        for pool in self._pools.values():
            await pool.session.close()
        self._pools.clear()

    @asynccontextmanager
    async def _pool_for(self, identity: str) -> AsyncIterator[_Pool]:
        pool = self._pools.pop(identity, None) or _Pool(self._new_session())
        self._pools[identity] = pool
        pool.in_use += 1
        try:
            yield pool
        finally:
            pool.in_use -= 1
            await self._close_old_pools()

    async def _close_old_pools(self) -> None:
        old = list(self._pools)[:-MOST_IDENTITIES]
        for identity in [identity for identity in old if not self._pools[identity].in_use]:
            await self._pools.pop(identity).session.close()

    @asynccontextmanager
    async def send(self, upstream_request: UpstreamRequest) -> AsyncIterator[UpstreamResponse]:
        """Send, follow redirects, and give out the last answer; its connection is given back, or closed if unread.

        Raises `UpstreamError` and its kin; no foreign exception passes.
        """
        identity = upstream_request.credential.identity if upstream_request.credential is not None else NOBODY
        async with self._pool_for(identity) as own, self._pool_for(NOBODY) as foreign:
            received = await self._follow(upstream_request, _Pools(own.session, foreign.session))
            try:
                yield received
            finally:
                if not received.response.content.at_eof():
                    received.response.close()  # half a body is left: the connection is of no more use
                received.response.release()

    async def _follow(self, upstream_request: UpstreamRequest, pools: _Pools) -> UpstreamResponse:
        url, carried = upstream_request.url, False
        for _hop in range(MAX_HOPS + 1):
            response = await self._exchange(upstream_request, url, pools)
            carried |= (
                authorization_for(url, self._upstream.url, upstream_request.credential, upstream_request.scheme)
                is not None
            )
            location = response.headers.get("Location")
            if response.status not in REDIRECTS or location is None:
                return UpstreamResponse(
                    response, url, carried, self._upstream.read_timeout, upstream_request.credential
                )
            response.close()  # its connection only when the body is still on its way
            url = next_hop(upstream_request, url, location)
            if may_carry_token(url, self._upstream.url) and not may_be_redirected_to(
                upstream_request.method, url, self._upstream
            ):
                what = f"{self._upstream.url} redirects to a part of itself that is not forwarded"
                raise UpstreamUnexpectedError(what, "this is the server's to mend: tell its administrator")
        what = f"{self._upstream.url} redirects in circles: more than {MAX_HOPS} times"
        raise UpstreamUnexpectedError(what, "this is the server's to mend: tell its administrator")

    async def _exchange(self, upstream_request: UpstreamRequest, url: str, pools: _Pools) -> aiohttp.ClientResponse:
        """One hop, tried again where that is safe and what failed did so at once: clients do not wait for long."""
        delays = RETRY_DELAYS if upstream_request.is_repeatable else ()
        for delay in delays:
            began = self._clock()
            try:
                response = await self._request(upstream_request, url, pools)
            except UpstreamError as error:
                if not error.may_pass or self._clock() - began > AT_ONCE:
                    raise
            else:
                if response.status not in RETRIED_STATUSES or self._clock() - began > AT_ONCE:
                    return response
                response.close()
            await self._sleep(delay * (1 + random.random()))  # noqa: S311 - jitter, no secret
        return await self._request(upstream_request, url, pools)

    async def _request(self, upstream_request: UpstreamRequest, url: str, pools: _Pools) -> aiohttp.ClientResponse:
        own = may_carry_token(url, self._upstream.url)
        session, trust = (pools.own, self._own_trust) if own else (pools.foreign, self._foreign_trust)
        tls = trust.context()
        try:
            return await session.request(
                upstream_request.method,
                URL(url, encoded=True),
                headers=self._headers_for(upstream_request, url),
                data=upstream_request.body,
                allow_redirects=False,
                proxy=proxy_for(url, self._upstream.proxy),
                ssl=tls,
            )
        except (aiohttp.ClientSSLError, ssl.SSLError) as error:
            raise await explain_tls_failure(error, url, self._upstream) from error
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            raise map_exception(error, url) from error

    def _headers_for(self, upstream_request: UpstreamRequest, url: str) -> CIMultiDict[str]:
        headers = CIMultiDict(upstream_request.headers)
        authorization = authorization_for(url, self._upstream.url, upstream_request.credential, upstream_request.scheme)
        if authorization is not None:
            headers["Authorization"] = authorization
        if may_carry_token(url, self._upstream.url):
            headers.update(self._upstream.headers)
        return headers


def next_hop(upstream_request: UpstreamRequest, url: str, location: str) -> str:
    """Where a redirect leads; `UpstreamUnexpectedError` when it must not be followed."""
    if not upstream_request.is_repeatable:
        what = f"{_place(url)} redirects a {upstream_request.method}, which cannot be sent twice"
        raise UpstreamUnexpectedError(what, "check the upstream's url in the settings: scheme, host and path")
    hint = "this is the server's to mend: tell its administrator"
    try:
        target = urljoin(url, location.replace(" ", "%20")) if location.isprintable() else ""
        origin = Origin.of(target)
    except ValueError as error:
        what = f"{_place(url)} redirects to something that is no http address"
        raise UpstreamUnexpectedError(what, hint) from error
    if upstream_request.credential is not None and upstream_request.credential.is_in(target):
        raise UpstreamUnexpectedError(f"{_place(url)} redirects to an address with our token in it", hint)
    if url.startswith("https:") and origin.scheme == "http":
        raise UpstreamUnexpectedError(f"{_place(url)} redirects from https to plain http", hint)
    return _without_user(target.partition("#")[0])


def _without_user(url: str) -> str:
    """A URL without user name and password, which would be sent along as a credential that nobody here chose."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else url


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
