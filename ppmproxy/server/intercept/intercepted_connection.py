"""One client connection inside TLS: each request goes to whoever answers it, the daemon or the host itself.

The daemon answers what lies below an upstream's base path. A request for anything else on the same host, such as a
portal or a git server, is passed on to that. Bytes of a body, and those of the response, pass without being read.

The time limits are those of the daemon's own port. Here are those for a connection without a request and for a head;
those for a body and between requests are kept by what answers, which closes the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from ppmproxy.access.limits import Limits
from ppmproxy.auth.paths import checked_target, is_below
from ppmproxy.config.model import Upstream
from ppmproxy.errors import PpmProxyError
from ppmproxy.server.alarm import Alarm
from ppmproxy.server.error_responses import ClientContext, render_error
from ppmproxy.server.intercept.connect_request import Authority
from ppmproxy.server.intercept.intercepted_request import (
    HEAD_END,
    LARGEST_HEAD,
    InterceptedRequest,
    intercepted_request,
)
from ppmproxy.server.request_errors import HeadTooLargeError, TooSlowError


class RequestAnswerer(Protocol):
    """Answers the requests of one client connection, one after the other; writes to its transport."""

    @property
    def has_answered_all(self) -> bool:
        """Whether every request has its whole response."""

    def ask(self, request: InterceptedRequest) -> None: ...
    def receive_body(self, data: bytes) -> None: ...
    def pause_response(self) -> None: ...
    def resume_response(self) -> None: ...

    def close(self, error: Exception | None) -> None:
        """The connection has ended, in order or with an error, or its next request is not for this one."""


@dataclass(slots=True)
class Interceptor:
    """What all intercepted connections of one run share: the upstreams, who answers, what was asked for."""

    upstreams: Mapping[Authority, Sequence[Upstream]]
    daemon_for: Callable[[Upstream, InterceptedConnection], RequestAnswerer]
    host_for: Callable[[Upstream, InterceptedConnection], RequestAnswerer]
    asked: set[Authority] = field(default_factory=set)  # upstreams that received a request
    limits: Limits = field(default_factory=Limits)

    def connection_for(self, authority: Authority, ended: Callable[[], None]) -> InterceptedConnection:
        """The protocol of a connection that was opened for this host and port; `ended` is called at its end."""
        return InterceptedConnection(self, authority, ended)


class InterceptedConnection(asyncio.Protocol):
    """A connection inside TLS that was opened for one host and port."""

    def __init__(self, shared: Interceptor, authority: Authority, ended: Callable[[], None]) -> None:
        self.transport: asyncio.Transport | None = None
        self._shared = shared
        self._authority = authority
        self._ended = ended
        self._answerer: RequestAnswerer | None = None
        self._is_daemon = False  # which of the two that is
        self._head = bytearray()  # the beginning of one that is not complete
        self._is_pipelined = False  # whether requests before that head were being answered at the last look
        self._body_left: int | None = 0  # None: all that comes is this request's
        self._early = b""  # received before `connection_made`
        self._user_agent = ""
        self._alarm = Alarm()

    @property
    def connected(self) -> asyncio.Transport:
        """The transport, while the connection lasts."""
        if self.transport is None:
            raise ConnectionResetError("the client has left")
        return self.transport

    # --- asyncio's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream
        self.transport = transport
        self._alarm.set(self._shared.limits.idle, self.abort)
        early, self._early = self._early, b""
        self.data_received(early)

    def connection_lost(self, exc: Exception | None) -> None:
        self._alarm.close()
        self.transport = None
        if self._answerer is not None:
            self._answerer.close(exc)
            self._answerer = None
        self._ended()

    def pause_writing(self) -> None:
        if self._answerer is not None:
            self._answerer.pause_response()

    def resume_writing(self) -> None:
        if self._answerer is not None:
            self._answerer.resume_response()

    def data_received(self, data: bytes) -> None:
        if self.transport is None:  # asyncio hands on what came with the end of the TLS handshake at once
            self._early += data
            return
        rest: bytes | None = data
        try:
            while rest and self.transport is not None and not self.transport.is_closing():
                rest = self._pass_body(rest) if self._body_left != 0 else self._read_head(rest)
        except PpmProxyError as error:
            self._refuse_next(error)

    # --- requests ---

    def _pass_body(self, data: bytes) -> bytes:
        taken = data if self._body_left is None else data[: self._body_left]
        if self._body_left is not None:
            self._body_left -= len(taken)
        if self._answerer is not None:
            self._answerer.receive_body(taken)
        return data[len(taken) :]

    def _read_head(self, data: bytes) -> bytes | None:
        """Hand on the next request, and return what follows its head; None when that is not complete."""
        if not self._head:
            data = data.lstrip(b"\r\n")  # a server should ignore empty lines before a request (RFC 9112 section 2.2)
            if not data:
                return None
            self._alarm.cancel()
            self._alarm.set(self._shared.limits.head, self._head_is_late)
            self._is_pipelined = False
        self._head += data
        end = self._head.find(HEAD_END)
        if (end if end >= 0 else len(self._head)) > LARGEST_HEAD:
            what = f"the request's headers are larger than {LARGEST_HEAD} bytes"
            raise HeadTooLargeError(what, "send fewer or shorter headers")
        if end < 0:
            return None
        head, rest = bytes(self._head[: end + len(HEAD_END)]), bytes(self._head[end + len(HEAD_END) :])
        self._head.clear()
        self._alarm.cancel()
        self._begin(intercepted_request(head))
        return rest

    def _begin(self, request: InterceptedRequest) -> None:
        self._user_agent = request.user_agent
        self._shared.asked.add(self._authority)
        request.check_host(self._authority)
        path, _ = checked_target(request.target)
        upstreams = self._shared.upstreams[self._authority]
        is_daemon = any(is_below(urlsplit(upstream.url).path, path) for upstream in upstreams)
        self._body_left = request.body_size
        if self._answerer is not None and self._is_daemon != is_daemon:
            if not self._answerer.has_answered_all:
                self.abort()  # the client would take the response of one for that of the other
                return
            self._answerer.close(None)
            self._answerer = None
        if self._answerer is None:
            make = self._shared.daemon_for if is_daemon else self._shared.host_for
            self._answerer, self._is_daemon = make(upstreams[0], self), is_daemon
        self._answerer.ask(request)

    # --- ends ---

    def refuse(self, error: PpmProxyError) -> None:
        """Send an error in place of a response, and close."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(render_error(error, ClientContext(None, self._user_agent)).last_message)
            self.transport.close()

    def abort(self) -> None:
        """Close at once, so that the client knows that a response is not whole."""
        if self.transport is not None:
            self.transport.abort()

    def _refuse_next(self, error: PpmProxyError) -> None:
        """Refuse a request that nobody answers; while responses to others are missing, the error would be theirs."""
        if self._has_answers_to_send:
            self.abort()
        else:
            self.refuse(error)

    @property
    def _has_answers_to_send(self) -> bool:
        return self._answerer is not None and not self._answerer.has_answered_all

    def _head_is_late(self) -> None:
        was_pipelined, self._is_pipelined = self._is_pipelined, self._has_answers_to_send
        if was_pipelined or self._is_pipelined:  # its client may not send the rest before it has these
            self._alarm.set(self._shared.limits.head, self._head_is_late)
            return
        seconds = self._shared.limits.head
        self.refuse(TooSlowError(f"the request was not complete after {seconds:g} seconds", "try again"))
