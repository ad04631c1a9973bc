"""The CONNECT proxy of `exec --intercept`: admits a client, and answers for an upstream or opens a tunnel.

A client is admitted like one of the daemon, by its uid, and has to know the password of this run besides: where the
system does not say which user a connection belongs to, another process of the machine still cannot use the proxy.

A connection to an upstream's host and port is always accepted and answered inside TLS, errors included: clients hide
the reason of a refused CONNECT, and some try it eleven times. It is never tunnelled, whatever fails.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

from ppmproxy.access.admission import Admission, ConnectionTicket, Verdict
from ppmproxy.server.alarm import Alarm
from ppmproxy.server.intercept.authority import RunAuthority
from ppmproxy.server.intercept.connect_request import (
    LARGEST_HEAD,
    Action,
    Authority,
    ConnectRefusedError,
    ConnectRules,
)
from ppmproxy.server.intercept.handshake_turns import HandshakeTurns
from ppmproxy.server.intercept.tunnel import join, open_tunnel

HEAD_TIMEOUT = 20.0  # seconds for the head of a request
HANDSHAKE_TIMEOUT = 20.0  # seconds
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class EventLog(Protocol):
    """The part of a log that is used here. `exec` starts without the real one."""

    def debug(self, event: str, **fields: object) -> object: ...
    def exception(self, event: str, **fields: object) -> object: ...


@dataclass(slots=True)
class ConnectProxy:
    """What all connections of one run share.

    `handler_for` makes the protocol that answers requests to an upstream's authority, once TLS is established; it calls
    what it is given when its connection has ended.
    `forward_proxy_for` names the forward proxy for a tunnel, as the environment had it; None for a direct connection.
    """

    rules: ConnectRules
    authority: RunAuthority
    admission: Admission
    handler_for: Callable[[Authority, Callable[[], None]], asyncio.Protocol]
    forward_proxy_for: Callable[[Authority], str | None]
    log: EventLog = field(repr=False)
    connections: set[ConnectConnection] = field(default_factory=set, repr=False)
    turns: HandshakeTurns = field(default_factory=HandshakeTurns, repr=False)

    def __call__(self) -> asyncio.Protocol:
        return ConnectConnection(self)

    def close(self) -> None:
        """End all connections, tunnels included."""
        for connection in list(self.connections):
            connection.abort()


@dataclass(frozen=True, slots=True)
class PlainRequest:
    """One plain http request: its head as its server gets it, the size of its body, and what has come of that."""

    head: bytes
    body_size: int
    start_of_body: bytes


class ConnectConnection(asyncio.Protocol):
    """One connection, up to its TLS handshake or tunnel; it counts as admitted until its end."""

    def __init__(self, proxy: ConnectProxy) -> None:
        self._proxy = proxy
        self._head = bytearray()
        self._transport: asyncio.Transport | None = None
        self._ticket: ConnectionTicket | None = None
        self._alarm = Alarm()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream
        self._transport = transport
        self._proxy.connections.add(self)
        self._ticket = self._proxy.admission.admit(transport.get_extra_info("socket"))
        if self._ticket.verdict is Verdict.TOO_MANY:
            self._refuse(ConnectRefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "this proxy has too many connections"))
            return
        if self._ticket.verdict is not Verdict.ADMITTED:
            self._refuse(ConnectRefusedError(HTTPStatus.FORBIDDEN, "this proxy belongs to another user"))
            return
        self._alarm.set(HEAD_TIMEOUT, self.abort)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._end()

    def data_received(self, data: bytes) -> None:
        if self._task is not None or self._transport is None:
            return
        self._head += data
        head, found, rest = bytes(self._head).partition(b"\r\n\r\n")
        if not found and len(head) <= LARGEST_HEAD:
            return
        self._alarm.close()
        self._transport.pause_reading()
        self._task = asyncio.create_task(self._answer(head, rest, self._transport))

    async def _answer(self, head: bytes, rest: bytes, transport: asyncio.Transport) -> None:
        try:
            decision = self._proxy.rules.decide(head[: LARGEST_HEAD + 1])
            if decision.action is Action.FORWARD:
                await self._tunnel(decision.authority, transport, PlainRequest(decision.head, decision.body_size, rest))
            elif rest:
                self._refuse(ConnectRefusedError(HTTPStatus.BAD_REQUEST, "a CONNECT request has no body"))
            elif decision.action is Action.INTERCEPT:
                await self._intercept(decision.authority, transport)
            else:
                await self._tunnel(decision.authority, transport)
        except ConnectRefusedError as error:
            self._refuse(error)
        except Exception as error:
            self._proxy.log.exception("intercept_failed", exc_info=error)
            self.abort()

    async def _intercept(self, authority: Authority, transport: asyncio.Transport) -> None:
        handler = self._proxy.handler_for(authority, self._end)
        context = self._proxy.authority.context_for(authority.host)
        loop = asyncio.get_running_loop()
        turn = await self._proxy.turns.next()
        if transport.is_closing():  # the run has ended
            turn.end()
            return
        try:
            transport.write(ESTABLISHED)
            secured = await loop.start_tls(
                transport, handler, context, server_side=True, ssl_handshake_timeout=HANDSHAKE_TIMEOUT
            )
        except (OSError, ssl.SSLError) as error:
            # uv opens more tunnels than it needs and drops them; a client that does not trust us says why by itself.
            self._proxy.log.debug("intercept_handshake_failed", host=authority.host, error=str(error))
            secured = None
        finally:
            turn.end()
        if secured is None:  # or closed in the meantime
            self.abort()
            self._end()  # asyncio tells no protocol of a connection that is lost in its handshake
            return
        handler.connection_made(secured)

    async def _tunnel(
        self, authority: Authority, transport: asyncio.Transport, request: PlainRequest | None = None
    ) -> None:
        """Join the client to a server; with a plain http request the server's answer is the client's."""
        server_end = await open_tunnel(authority, self._proxy.forward_proxy_for(authority))
        if server_end.transport is None or transport.is_closing():
            server_end.close()
            self.abort()
            return
        if request is None:
            transport.write(ESTABLISHED)
            join(transport, server_end, self._end)
        else:
            server_end.transport.write(request.head)
            join(transport, server_end, self._end, request.body_size).data_received(request.start_of_body)
        server_end.transport.resume_reading()
        transport.resume_reading()

    def _refuse(self, error: ConnectRefusedError) -> None:
        self._alarm.close()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(error.head)
            self._transport.close()

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def _end(self) -> None:
        self._alarm.close()
        self._proxy.connections.discard(self)
        if self._ticket is not None:
            self._proxy.admission.release(self._ticket)
            self._ticket = None
