"""Requests for what else lives on an upstream's host, such as a portal or a git server: passed on to that.

They go with the client's own headers over a connection that is verified; nothing of ours is added.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from http import HTTPStatus
from typing import Any

import aiohttp
import structlog
from aiohttp import web
from aiohttp.http import HttpVersion11
from multidict import CIMultiDict
from yarl import URL

from ppmproxy.access.limits import Limits
from ppmproxy.config.model import Upstream
from ppmproxy.config.network import HOP_BY_HOP
from ppmproxy.errors import BadTargetError, PpmProxyError, UpstreamUnreachableError
from ppmproxy.server.error_responses import ClientContext, render_error
from ppmproxy.upstream.forward_proxy import proxy_for, split_credentials
from ppmproxy.upstream.tls import Trust

READ_BUFFER = 1 << 17  # bytes per connection
MAX_LINE = 1 << 14  # bytes of the request line, and of each header: a git server's cookies may be long
CONNECT_TIMEOUT = 10.0  # seconds

_OF_THE_PROXY = frozenset({"proxy-authorization", "proxy-authenticate", "expect"})  # `_body` answers Expect
_AROUND = frozenset({"alt-svc"})  # of the host, for all its paths: HTTP/3 would lead around the proxy
_AIOHTTP_S = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")  # it would add values of its own


class HostRelay:
    """Passes requests on to one upstream's host; to be closed. Needs a running event loop."""

    def __init__(self, upstream: Upstream, limits: Limits) -> None:
        self._upstream = upstream
        self._limits = limits
        self._trust = Trust(upstream, with_client_certificate=False)
        self._session = _session()

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    def connection(self) -> asyncio.Protocol:
        """The protocol that answers the requests of one client connection."""
        options: dict[str, Any] = {"access_log": None, "auto_decompress": False, "max_line_size": MAX_LINE}
        options |= {"max_field_size": MAX_LINE, "keepalive_timeout": self._limits.idle}
        server = web.Server(self._answer, handler_cancellation=True)
        return _HostConnection(server, loop=asyncio.get_running_loop(), **options)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        origin = str(self._upstream.origin)
        try:
            proxy, proxy_headers = split_credentials(proxy_for(origin, self._upstream.proxy) or "")
            options = {"ssl": self._trust.context(), "proxy": proxy or None, "proxy_headers": proxy_headers}
            try:
                return await self._forward(request, origin, options)
            except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
                what = f"cannot connect to {origin}: {type(error).__name__}"
                raise UpstreamUnreachableError(what, "run `ppmproxy doctor`") from error
        except PpmProxyError as error:
            return _refusal(error, request.headers.get("User-Agent", ""))

    async def _forward(self, request: web.BaseRequest, origin: str, options: Mapping[str, Any]) -> web.StreamResponse:
        """Pass one request on as it is, and its answer back as it comes."""
        url = URL(origin + request.raw_path, encoded=True)
        headers = _end_to_end(request.headers.items())
        body = await self._body(request)
        async with self._session.request(
            request.method, url, headers=headers, data=body, allow_redirects=False, **options
        ) as answer:
            response = web.StreamResponse(
                status=answer.status, reason=answer.reason, headers=_end_to_end(answer.headers.items())
            )
            await response.prepare(request)
            if request.method == "HEAD" or answer.status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}:
                return response
            try:
                while chunk := await answer.content.readany():
                    await response.write(chunk)
            except (aiohttp.ClientError, asyncio.TimeoutError) as error:
                # The head is out: only the connection's end can say that the body is not whole.
                structlog.get_logger("ppmproxy").warning("intercepted_body_cut", path=request.path, error=str(error))
                if request.transport is not None:
                    request.transport.abort()
                raise ConnectionResetError from error
            await response.write_eof()
            return response

    async def _body(self, request: web.BaseRequest) -> AsyncIterator[bytes] | None:
        if not request.body_exists:
            return None
        if request.version >= HttpVersion11 and request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # of the answer itself
        return self._pieces(request)

    async def _pieces(self, request: web.BaseRequest) -> AsyncIterator[bytes]:
        """The body as it comes; a client that stops in the middle is cut."""
        while not request.content.at_eof():
            try:
                piece = await asyncio.wait_for(request.content.readany(), self._limits.body)
            except asyncio.TimeoutError:
                if request.transport is not None:
                    request.transport.abort()
                raise
            yield piece


class _HostConnection(web.RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is not HTTP in the form of every other refusal, and without a traceback in the log."""
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return super().handle_error(request, status, exc, message)
        response = _refusal(BadTargetError("the request is not HTTP", "use HTTP/1.1"), "")
        response.force_close()
        return response


def _refusal(error: PpmProxyError, user_agent: str) -> web.Response:
    answer = render_error(error, ClientContext(None, user_agent))
    headers = CIMultiDict(answer.headers)
    return web.Response(status=answer.status, reason=answer.reason, headers=headers, body=answer.body)


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        requote_redirect_url=False,
        skip_auto_headers=_AIOHTTP_S,
        read_bufsize=READ_BUFFER,
        max_line_size=1 << 16,
        max_field_size=1 << 16,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
    )


def _end_to_end(headers: Iterable[tuple[str, str]]) -> CIMultiDict[str]:
    """Headers without those of one connection (RFC 9110 section 7.6.1)."""
    given = list(headers)
    values = (value for name, value in given if name.lower() == "connection")
    nominated = {word.strip().lower() for value in values for word in value.split(",")}
    dropped = HOP_BY_HOP | _OF_THE_PROXY | _AROUND | nominated
    return CIMultiDict((name, value) for name, value in given if name.lower() not in dropped)
