"""One client connection: its admission, the limits on the size of a request head, the time limits.

Who is admitted, and how many, is decided in `admission`. What is not HTTP, or too large, is answered in the
same form as every other refusal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import LineTooLong

from ppmproxy.access.admission import Admission, ConnectionTicket, Verdict
from ppmproxy.access.silence import silent_for
from ppmproxy.errors import BadTargetError, PpmProxyError
from ppmproxy.server.alarm import Alarm
from ppmproxy.server.error_responses import ErrorResponse
from ppmproxy.server.request_errors import HeadTooLargeError, OtherVersionError, TooSlowError
from ppmproxy.server.request_head import HeadScanner
from ppmproxy.upstream.connector import is_readable

MAX_LINE = 8190  # bytes of the request line, and of each header
MAX_HEADERS = 100
MAX_HEAD = 1 << 16  # bytes of all headers together
MOST_PARSED = MAX_HEAD // len("x:\r\n")  # headers; the parser's own refusal does not say what is wrong


class Responder(Protocol):
    """Answers the requests of a connection."""

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse: ...

    def refusal(self, error: PpmProxyError) -> ErrorResponse:
        """The response to an incomplete or malformed request; counted and logged."""


def has_left_in_order(request: web.BaseRequest) -> bool:
    """Whether the client closed the connection after everything that was written had been sent to it."""
    connection = request.protocol
    return isinstance(connection, ClientConnection) and connection.has_left_in_order and not connection.is_cut


def is_cut(request: web.BaseRequest) -> bool:
    """Whether the daemon cut the connection because it stops; otherwise the client has left."""
    return isinstance(request.protocol, ClientConnection) and request.protocol.is_cut


def is_own_user(request: web.BaseRequest) -> bool:
    """Whether the user at the other end is the daemon's own; False when that is unknown."""
    return isinstance(request.protocol, ClientConnection) and request.protocol.is_own_user


async def check_connection(request: web.BaseRequest) -> None:
    """Admit a request, after waiting for a place if need be, or raise the `RefusedError` for it or its size."""
    if isinstance(request.protocol, ClientConnection):
        await request.protocol.wait_for_place()
        request.protocol.check()
    size = sum(len(name) + len(value) + len(": \r\n") for name, value in request.raw_headers)
    if size > MAX_HEAD or len(request.raw_headers) > MAX_HEADERS:
        raise _too_large()


class ClientConnection(web.RequestHandler):
    """A connection with its admission ticket; closed when its client is too slow."""

    __slots__ = (
        "_admission",
        "_alarm",
        "_awaited",
        "_bytes_of_head",
        "_is_busy",
        "_is_ours",
        "_is_server_cut",
        "_is_used",
        "_made_at",
        "_received_at",
        "_responder",
        "_scanner",
        "_ticket",
        "has_left_in_order",
        "is_cut",
    )

    def __init__(
        self, server: web.Server, responder: Responder, admission: Admission, is_server_cut: Callable[[], bool]
    ) -> None:
        sizes = {"max_line_size": MAX_LINE, "max_field_size": MAX_LINE, "max_headers": MOST_PARSED}
        options: dict[str, Any] = {"access_log": None, "auto_decompress": False, **sizes}
        idle = admission.limits.idle
        super().__init__(server, loop=asyncio.get_running_loop(), keepalive_timeout=idle, **options)
        self._responder, self._admission, self._is_server_cut = responder, admission, is_server_cut
        self._ticket: ConnectionTicket | None = None
        self._alarm = Alarm()
        self._awaited: StreamReader | None = None  # the body that the client is still sending
        self._made_at = asyncio.get_running_loop().time()
        self._is_used = False  # it has had a request
        self._is_busy = False  # a request is being answered
        self._is_ours = True  # whether the version of HTTP is supported
        self._bytes_of_head = 0
        self._scanner = HeadScanner()
        self._received_at = 0.0
        self.is_cut = False  # the daemon stops and waits no longer
        self.has_left_in_order = False  # the client has closed the connection, and had been sent everything by then

    @property
    def is_admitted(self) -> bool:
        return self._ticket is not None and self._ticket.verdict is Verdict.ADMITTED

    @property
    def is_own_user(self) -> bool:
        """Whether the daemon's own user is at the other end; False when that is unknown."""
        if self._ticket is None or self.transport is None:
            return False
        return self._admission.is_own(self._ticket, self.transport.get_extra_info("socket"))

    @property
    def is_last_request(self) -> bool:
        """Whether the connection is closed after the response, because nothing else may be asked over it."""
        return not self.is_admitted or self._scanner.has_lost_track or self._admission.is_short

    async def wait_for_place(self) -> None:
        """Wait until a connection beyond the limits is admitted, or is not likely to be soon."""
        if self._ticket is not None:
            await self._admission.wait_for_place(self._ticket)

    def check(self) -> None:
        """Admit a request, or raise the error for its client."""
        if self._ticket is not None:
            self._admission.check(self._ticket)
        if not self._is_ours:
            raise OtherVersionError("ppmproxy does not support this version of HTTP", "use HTTP/1.1")

    # --- callbacks of asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._ticket = self._admission.admit(transport.get_extra_info("socket"), self)
        super().connection_made(transport)
        if (self._ticket.verdict is Verdict.DROPPED or self._is_server_cut()) and isinstance(
            transport, asyncio.WriteTransport
        ):
            transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._alarm.close()
        if self._ticket is not None:
            self._admission.release(self._ticket, self)
            self._ticket = None
        self.has_left_in_order = exc is None
        super().connection_lost(exc)

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way, nor the beginning of one, nor is the first one to be expected yet."""
        if self._waiter is None or self._bytes_of_head or self._awaited is not None or self.transport is None:
            return False
        if not self._is_used and self._silent_for() < self._admission.limits.silent:
            return False
        return not is_readable(self.transport)  # a request that is not read yet would be reset

    def _silent_for(self) -> float:
        assert self.transport is not None  # noqa: S101 - as `is_idle` has seen
        since_accepted = asyncio.get_running_loop().time() - self._made_at
        return max(since_accepted, silent_for(self.transport.get_extra_info("socket")))

    def close_idle(self) -> None:
        """Make room for another connection; the ticket is released already."""
        self._ticket = None
        self.force_close()

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        """Wait for the request under way, once: aiohttp waits as long again for what it cancels."""
        if timeout is None:
            await super().shutdown(timeout)
            return
        cutting = asyncio.get_running_loop().call_later(timeout, self.cut)
        try:
            await super().shutdown(timeout)
        finally:
            cutting.cancel()

    def cut(self) -> None:
        """Close the connection at once, because the daemon waits no longer."""
        self.is_cut = True
        if self.transport is not None:
            self.transport.abort()  # which cancels the handler, too

    def data_received(self, data: bytes) -> None:
        self._received_at = asyncio.get_running_loop().time()
        if data and self._awaited is None:
            if self._bytes_of_head > MAX_HEAD and not self._is_busy:
                self._refuse(_too_large())
                return
            self._bytes_of_head += len(data)
            self._alarm.set(self._admission.limits.head, self._head_is_late)
        super().data_received(self._scanner.checked(data))

    # --- requests ---

    def request_began(self, body: StreamReader, *, is_ours: bool) -> None:
        """A request head is complete and is about to be answered; `is_ours`: in a supported version."""
        self._is_busy, self._is_used, self._is_ours = True, True, is_ours
        self._bytes_of_head = 0
        self._alarm.cancel()
        if not body.is_eof():
            self._awaited = body
            body.on_eof(self._body_ended)
            self._alarm.set(self._admission.limits.body, self._body_is_late)

    def request_ended(self) -> None:
        """The response is complete; a pipelined head has its whole time from now on."""
        self._is_busy = False
        self._admission.record_use(self)
        if self._alarm.is_set and self._awaited is None:
            self._alarm.cancel()
            self._alarm.set(self._admission.limits.head, self._head_is_late)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - quotes what was sent
    ) -> web.StreamResponse:
        """Answer bytes that are not HTTP in the form of every other refusal."""
        if request.writer.output_size or isinstance(exc, ConnectionError):
            raise ConnectionError("the client has left") from exc
        answer = self._responder.refusal(self._own_refusal() or self._protocol_error(status, exc))
        headers = {**answer.headers, "Connection": "close"}
        response = web.Response(status=answer.status, reason=answer.reason, headers=headers, body=answer.body)
        response.force_close()
        return response

    def _protocol_error(self, status: int, error: BaseException | None) -> PpmProxyError:
        if isinstance(error, LineTooLong):
            return _too_large()
        if self._scanner.is_tls:
            return BadTargetError(
                "the client speaks HTTPS, and this port plain HTTP", "use http:// instead of https://"
            )
        if status < 500:  # noqa: PLR2004
            return BadTargetError("the request is not HTTP", "use HTTP/1.1")
        return PpmProxyError("ppmproxy failed unexpectedly", "see its log, and report it")

    def _own_refusal(self) -> PpmProxyError | None:
        try:
            self.check()
        except PpmProxyError as error:
            return error
        return None

    # --- time limits ---

    def _head_is_late(self) -> None:
        if self._is_busy:  # the bytes are a pipelined request, or the body of this one
            self._alarm.set(self._admission.limits.head, self._head_is_late)
            return
        seconds = self._admission.limits.head
        self._refuse(TooSlowError(f"the request was not complete after {seconds:g} seconds", "try again"))

    def _body_ended(self) -> None:
        self._awaited = None
        self._alarm.cancel()

    def _body_is_late(self) -> None:
        """Cut a connection whose client has stopped in the middle of a body, unless reading is paused."""
        transport, limit = self.transport, self._admission.limits.body
        if transport is None or self._awaited is None:
            return
        quiet = asyncio.get_running_loop().time() - self._received_at
        if quiet < limit or not transport.is_reading():
            self._alarm.set(max(limit - quiet, limit / 10), self._body_is_late)
        else:
            transport.abort()

    def _refuse(self, error: PpmProxyError) -> None:
        """Send an error to a client that is not being answered otherwise, and close."""
        if self.transport is not None:
            self.transport.write(self._responder.refusal(self._own_refusal() or error).last_message)
        self.force_close()


def _too_large() -> HeadTooLargeError:
    what = f"the request's headers exceed {MAX_LINE} bytes each, {MAX_HEAD} bytes together or {MAX_HEADERS} in number"
    return HeadTooLargeError(what, "send fewer or shorter headers")
