"""A blind tunnel between a client and another server: bytes pass unread, in both directions, each at its own pace.

The connection is direct or through the forward proxy that the environment named before, whose refusal is passed on.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from ppmproxy.server.intercept.connect_request import Authority, ConnectRefusedError
from ppmproxy.upstream.forward_proxy import split_credentials

CONNECT_TIMEOUT = 10.0  # seconds
LARGEST_ANSWER = 1 << 14  # bytes of a forward proxy's head

_STATUS = re.compile(rb"HTTP/1\.[01] (?P<status>[0-9]{3})[ \t]*(?P<reason>[^\r\n]*)")


class TunnelEnd(asyncio.Protocol):
    """One end of a tunnel: what it receives goes to `peer`, which slows it down when it is full itself."""

    def __init__(self, ended: Callable[[], None] = lambda: None, limit: int | None = None) -> None:
        """`limit` is how many bytes may come from here; the tunnel ends with one more."""
        self.transport: asyncio.Transport | None = None
        self.peer: TunnelEnd | None = None
        self.has_ended = False  # the direction from here
        self._ended = ended
        self._left = limit

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        other = self.peer.transport if self.peer else None
        self.transport = None
        self._ended()
        if other is None:
            return
        if exc is None:
            other.close()
        else:
            other.abort()  # a reset stays one, so that a body without a length does not seem to be whole

    def close(self) -> None:
        """Close this end, and so the tunnel."""
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._left is not None:
            if len(data) > self._left:
                self.close()
                return
            self._left -= len(data)
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.write(data)

    def eof_received(self) -> bool:
        """Hand on the end of one direction; the other one goes on, and both ends close when that has ended, too.

        With TLS, to a forward proxy, asyncio keeps no connection half open.
        """
        self.has_ended = True
        other = self.peer.transport if self.peer else None
        if self.peer is None or other is None or self.peer.has_ended or not other.can_write_eof():
            return False
        other.write_eof()
        return self.transport is None or self.transport.get_extra_info("sslcontext") is None

    def pause_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.resume_reading()


def join(
    client: asyncio.Transport, server: TunnelEnd, ended: Callable[[], None], limit: int | None = None
) -> TunnelEnd:
    """Make a tunnel of a client's connection and one to a server, and return the client's end.

    `ended` is called when the client's connection has ended; `limit` is how many bytes the client may send.
    """
    end = TunnelEnd(ended, limit)
    end.transport, end.peer, server.peer = client, server, end
    client.set_protocol(end)
    return end


async def open_tunnel(authority: Authority, proxy: str | None) -> TunnelEnd:
    """A connection to a host and port, paused until it is joined; `ConnectRefusedError` when there is none in time."""
    try:
        return await asyncio.wait_for(_open(authority, proxy), CONNECT_TIMEOUT)
    except asyncio.TimeoutError:
        reason = f"{authority} gives no answer within {CONNECT_TIMEOUT:g} s"
        raise ConnectRefusedError(HTTPStatus.GATEWAY_TIMEOUT, reason) from None
    except (OSError, UnicodeError) as error:  # the second for what no name server is asked: an empty label
        where = f"{authority}" if proxy is None else f"the forward proxy {split_credentials(proxy)[0]}"
        why = "no valid name of a host" if isinstance(error, UnicodeError) else error.strerror or type(error).__name__
        reason = f"{where} cannot be reached: {why.lower()}"
        raise ConnectRefusedError(HTTPStatus.BAD_GATEWAY, reason) from None


async def _open(authority: Authority, proxy: str | None) -> TunnelEnd:
    loop = asyncio.get_running_loop()
    if proxy is None:
        transport, end = await loop.create_connection(
            TunnelEnd, authority.host, authority.port, happy_eyeballs_delay=0.25
        )
        transport.pause_reading()
        return end
    address, headers = split_credentials(proxy)
    parts = urlsplit(address)
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    port = parts.port or (443 if tls else 80)
    waiting = _ProxyAnswer(authority)
    await loop.create_connection(lambda: waiting, parts.hostname or "", port, ssl=tls)
    try:
        return await waiting.tunnel(headers)
    except BaseException:
        waiting.abort()
        raise


@dataclass(slots=True)
class _Answered:
    status: int
    reason: str


class _ProxyAnswer(asyncio.Protocol):
    """Asks a forward proxy for a tunnel, and becomes one."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._transport: asyncio.Transport | None = None
        self._head = bytearray()
        self._answered: asyncio.Future[_Answered] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._head += data
        head, found, rest = bytes(self._head).partition(b"\r\n\r\n")
        if self._answered.done() or (not found and len(self._head) < LARGEST_ANSWER):
            return
        match = _STATUS.match(head)
        # Bytes behind the head of a 2xx are the forward proxy's own: the tunnel has carried nothing yet.
        if match is None or not found or (rest and match["status"].startswith(b"2")):
            self._fail(ConnectionError("the forward proxy does not speak HTTP"))
        else:
            if self._transport is not None:
                self._transport.pause_reading()
            self._answered.set_result(_Answered(int(match["status"]), match["reason"].decode("ascii", "replace")))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._answered.done():
            self._fail(exc or ConnectionResetError("the forward proxy closed the connection"))

    def _fail(self, error: Exception) -> None:
        self._answered.set_exception(error)
        self._answered.exception()  # nobody waits for it where the handshake failed

    def abort(self) -> None:
        """Give up."""
        if self._transport is not None:
            self._transport.abort()

    async def tunnel(self, headers: Mapping[str, str]) -> TunnelEnd:
        """The tunnel; `ConnectRefusedError` with the proxy's own status."""
        transport = self._transport
        assert transport is not None  # noqa: S101 - connected
        lines = [f"CONNECT {self._authority} HTTP/1.1", f"Host: {self._authority}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        transport.write(("\r\n".join(lines) + "\r\n\r\n").encode("ascii"))
        answer = await self._answered
        if answer.status // 100 != HTTPStatus.OK // 100:
            reason = f"the forward proxy refused {self._authority}: {answer.status} {answer.reason}"
            raise ConnectRefusedError(_passed_on(answer.status), reason)
        end = TunnelEnd()
        end.connection_made(transport)
        transport.set_protocol(end)
        return end


def _passed_on(status: int) -> HTTPStatus:
    """A forward proxy's status for our client; not 407, which would have it look for a password of this proxy."""
    try:
        found = HTTPStatus(status)
    except ValueError:
        return HTTPStatus.BAD_GATEWAY
    return HTTPStatus.BAD_GATEWAY if found is HTTPStatus.PROXY_AUTHENTICATION_REQUIRED else found
