"""Requests inside an intercepted connection: on to the daemon, or to the host itself where the path is no upstream's.

The daemon alone has the token. It is asked by a mode of its own (`INTERCEPT_HEADER`), in which the request's real URL
decides and links stay as they are, and which takes the daemon's key. A request for anything else on the same host, such
as a portal or a git server, is passed on with the client's own headers over a connection that is verified; nothing of
ours is added.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import structlog
from aiohttp import web
from aiohttp.http import HttpVersion11
from multidict import CIMultiDict
from yarl import URL

from ppmproxy.access.daemon_identity import INTERCEPT_HEADER, IdentityKey
from ppmproxy.auth.origin import Origin
from ppmproxy.auth.paths import checked_target, is_below
from ppmproxy.config.model import Upstream
from ppmproxy.errors import BadTargetError, NotForwardedError, PpmProxyError, UpstreamUnreachableError
from ppmproxy.server.error_responses import ClientContext, render_error
from ppmproxy.server.intercept.connect_request import Authority, authority_of_upstream
from ppmproxy.upstream.forward_proxy import proxy_for, split_credentials
from ppmproxy.upstream.tls import Trust

READ_BUFFER = 1 << 17  # bytes per connection
MAX_LINE = 1 << 14  # bytes of the request line, and of each header: a git server's cookies may be long
CONNECT_TIMEOUT = 10.0  # seconds
RESTART_WITHIN = 5.0  # seconds in which a service manager has the daemon back
RESTART_POLL = 0.25  # seconds

_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "expect"}
)
_OWN = frozenset({INTERCEPT_HEADER.lower(), "proxy-authorization", "proxy-authenticate"})
_AROUND = frozenset({"alt-svc"})  # of the host, for all its paths: HTTP/3 would lead around the proxy
_NOT_FOR_THE_DAEMON = ("Host", "Authorization", "Cookie")  # which needs none of them
_AIOHTTP_S = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")  # it would add values of its own


class MisdirectedError(BadTargetError):
    """A request for another host than the connection was opened for (RFC 9110 section 15.5.20)."""

    status = 421
    title = "misdirected request"


@dataclass(frozen=True, slots=True)
class DaemonAddress:
    """Where the daemon is asked, and how it proves to be this user's."""

    url: str  # http://127.0.0.1:7760
    key: IdentityKey = field(repr=False)  # which proves to it who asks
    find_key: Callable[[], IdentityKey | None] = field(repr=False)  # of who is there now; None: a stranger


class _RestartedError(Exception):
    """Another daemon of this user listens where the one before was."""


class InterceptRelay:
    """Answers the requests of all intercepted connections; to be closed. Needs a running event loop."""

    def __init__(self, daemon: DaemonAddress, upstreams: Sequence[Upstream], asked: set[Authority]) -> None:
        """`asked` gets the upstreams of which something was asked."""
        self._daemon = daemon
        self._key = daemon.key
        self._upstreams: dict[Authority, list[Upstream]] = {}
        for upstream in upstreams:
            self._upstreams.setdefault(authority_of_upstream(upstream), []).append(upstream)
        self._trusts = {upstream.name: Trust(upstream, with_client_certificate=False) for upstream in upstreams}
        verifying = aiohttp.TraceConfig()
        verifying.on_connection_create_start.append(self._verify_daemon)
        self._to_daemon = _session(verifying)
        self._to_host = _session()
        self._asked = asked

    async def close(self) -> None:
        """Close all connections."""
        await self._to_daemon.close()
        await self._to_host.close()

    def handler_for(self, authority: Authority, ended: Callable[[], None]) -> asyncio.Protocol:
        """The protocol of one connection that was opened for this host and port."""

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            return await self.answer(request, authority)

        return InterceptedConnection(web.Server(answer, handler_cancellation=True), ended)

    async def answer(self, request: web.BaseRequest, authority: Authority) -> web.StreamResponse:
        """Answer one request, with an error where it cannot be passed on."""
        self._asked.add(authority)
        try:
            _check_host(request, authority)
            path, _ = checked_target(request.raw_path)
            upstreams = self._upstreams[authority]
            if any(is_below(urlsplit(upstream.url).path, path) for upstream in upstreams):
                return await self._ask_daemon(request, upstreams[0].origin)
            return await self._ask_host(request, upstreams[0])
        except PpmProxyError as error:
            return _refusal(error, request.headers.get("User-Agent", ""))

    async def _ask_daemon(self, request: web.BaseRequest, origin: Origin) -> web.StreamResponse:
        headers = _end_to_end(request.headers.items())
        for name in _NOT_FOR_THE_DAEMON:
            headers.popall(name, None)
        try:
            with contextlib.suppress(_RestartedError):
                return await self._ask_with_proof(request, origin, headers)
            return await self._ask_with_proof(request, origin, headers)
        except _RestartedError as error:
            what = f"the proxy at {self._daemon.url} starts again and again"
            raise UpstreamUnreachableError(what, "see `ppmproxy status`, and its log") from error
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            what = f"the proxy at {self._daemon.url} does not answer"
            raise UpstreamUnreachableError(what, "see `ppmproxy status`, and start the command again") from error

    async def _ask_with_proof(
        self, request: web.BaseRequest, origin: Origin, headers: CIMultiDict[str]
    ) -> web.StreamResponse:
        key = self._key
        headers[INTERCEPT_HEADER] = key.intercept_header(str(origin), request.method, request.raw_path)
        return await _forward(request, self._to_daemon, self._daemon.url, headers, trace_request_ctx=key)

    async def _verify_daemon(
        self,
        _session: aiohttp.ClientSession,
        context: SimpleNamespace,
        _event: aiohttp.TraceConnectionCreateStartParams,
    ) -> None:
        """Before each new connection: after the daemon's end anybody may listen there. Waits for its restart."""
        deadline = asyncio.get_running_loop().time() + RESTART_WITHIN
        while True:
            key = await asyncio.to_thread(self._daemon.find_key)
            if key is not None or asyncio.get_running_loop().time() >= deadline:
                break
            await asyncio.sleep(RESTART_POLL)
        if key is None:
            what = f"the proxy at {self._daemon.url} does not answer, or cannot prove to be yours"
            raise UpstreamUnreachableError(what, "see `ppmproxy status`, and start it again")
        self._key = key
        if key != context.trace_request_ctx:
            raise _RestartedError

    async def _ask_host(self, request: web.BaseRequest, upstream: Upstream) -> web.StreamResponse:
        origin = str(upstream.origin)
        proxy, proxy_headers = split_credentials(proxy_for(origin, upstream.proxy) or "")
        tls = self._trusts[upstream.name].context()
        options = {"ssl": tls, "proxy": proxy or None, "proxy_headers": proxy_headers}
        try:
            return await _forward(request, self._to_host, origin, _end_to_end(request.headers.items()), **options)
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            what = f"{origin} cannot be reached: {type(error).__name__}"
            raise UpstreamUnreachableError(what, "run `ppmproxy doctor`, which says more") from error


class InterceptedConnection(web.RequestHandler):
    """A connection inside TLS; `ended` is called at its end."""

    __slots__ = ("_ended",)

    def __init__(self, server: web.Server, ended: Callable[[], None]) -> None:
        options: dict[str, Any] = {"access_log": None, "auto_decompress": False}
        loop = asyncio.get_running_loop()
        super().__init__(server, loop=loop, max_line_size=MAX_LINE, max_field_size=MAX_LINE, **options)
        self._ended = ended

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._ended()

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
        response = _refusal(BadTargetError("this is not an HTTP request", "speak HTTP/1.1 here"), "")
        response.force_close()
        return response


def _refusal(error: PpmProxyError, user_agent: str) -> web.Response:
    answer = render_error(error, ClientContext(None, user_agent))
    headers = CIMultiDict(answer.headers)
    return web.Response(status=answer.status, reason=answer.reason, headers=headers, body=answer.body)


def _session(*traces: aiohttp.TraceConfig) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        trace_configs=list(traces),
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


def _check_host(request: web.BaseRequest, authority: Authority) -> None:
    """The connection was opened, and its certificate made, for this host: nothing else is answered over it."""
    hosts = request.headers.getall("Host", [])
    host = hosts[0].strip().lower() if len(hosts) == 1 else ""
    without_port = str(authority).rpartition(":")[0]
    if host not in {str(authority), without_port}:
        what = f"this connection was opened for {authority}, and the request names another host"
        raise MisdirectedError(what, "use a client that opens a connection for each host")
    if "upgrade" in request.headers.get("Connection", "").lower():
        what = "a WebSocket or another upgraded connection does not pass ppmproxy exec --intercept"
        raise NotForwardedError(what, "run that program without it")


def _end_to_end(headers: Iterable[tuple[str, str]]) -> CIMultiDict[str]:
    """Headers without those of one connection (RFC 9110 section 7.6.1), and without ours."""
    given = list(headers)
    values = (value for name, value in given if name.lower() == "connection")
    nominated = {word.strip().lower() for value in values for word in value.split(",")}
    dropped = _HOP_BY_HOP | _OWN | _AROUND | nominated
    return CIMultiDict((name, value) for name, value in given if name.lower() not in dropped)


async def _forward(
    request: web.BaseRequest, session: aiohttp.ClientSession, origin: str, headers: Mapping[str, str], **options: Any
) -> web.StreamResponse:
    """Pass one request on as it is, and its answer back as it comes."""
    url = URL(origin + request.raw_path, encoded=True)
    body = await _body(request)
    async with session.request(
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


async def _body(request: web.BaseRequest) -> AsyncIterator[bytes] | None:
    if not request.body_exists:
        return None
    if request.version >= HttpVersion11 and request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # of the answer itself
    return request.content.iter_any()
