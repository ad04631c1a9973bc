"""Connections to the running daemon, each of which has proved itself before anything is asked over it.

After the daemon's end anybody may listen on its port.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from ppmproxy.access.daemon_identity import LARGEST_ANSWER
from ppmproxy.access.identity_key import NONCE_BYTES, PAGE, IdentityKey, endpoint_of

CONNECT_TIMEOUT = 10.0  # seconds
PROOF_TIMEOUT = 10.0  # seconds; the daemon may be busy with the requests of the command

_END = b"\r\n\r\n"
_SIZE = re.compile(rb"\r\ncontent-length:[ \t]*(?P<bytes>[0-9]{1,9})[ \t]*\r\n", re.IGNORECASE)


@dataclass(slots=True)
class DaemonAddress:
    """Where the daemon is asked, and how it proves to be this user's."""

    url: str  # http://127.0.0.1:7760
    key: IdentityKey = field(repr=False)  # of the daemon that was found last
    find_key: Callable[[], IdentityKey | None] = field(repr=False)  # of who is there now; None: a stranger. Blocks
    ready: list[ProvedConnection] = field(default_factory=list, repr=False)  # and used by nobody; some may have ended
    taken: asyncio.Event = field(default_factory=asyncio.Event, repr=False)  # one of them has been

    @property
    def netloc(self) -> str:
        return urlsplit(self.url).netloc

    async def prepare(self, number: int) -> None:
        """Open connections one after the other until so many are ready; fewer where one cannot be had."""
        while len(self.ready) < number:
            connection = await ProvedConnection.opened(self)
            if connection is None:
                return
            self.ready.append(connection)

    async def keep_ready(self, number: int, times: int) -> None:
        """Prepare so many, and as many again when half of them are taken, so many times in all."""
        await self.prepare(number)
        for _ in range(times - 1):
            while len(self.ready) > number // 2:
                self.taken.clear()
                await self.taken.wait()
            await self.prepare(number)

    def take_ready(self) -> ProvedConnection | None:
        """A connection that is ready; None when there is none. The daemon may be closing it, as any idle one."""
        self.taken.set()
        while self.ready:
            connection = self.ready.pop()
            if connection.is_open:
                return connection
        return None

    def close(self) -> None:
        """Close what nobody has taken."""
        while self.ready:
            self.ready.pop().abort()


class ConnectionUser(Protocol):
    """Who asks over a connection."""

    def response_received(self, data: bytes) -> None: ...
    def connection_ended(self, error: Exception | None) -> None: ...
    def pause_request(self) -> None: ...
    def resume_request(self) -> None: ...


class ProvedConnection(asyncio.Protocol):
    """One connection, which `opened` has had proved."""

    def __init__(self, daemon: DaemonAddress) -> None:
        self.user: ConnectionUser | None = None
        self.key = daemon.key  # by which the daemon has proved itself
        self._netloc = daemon.netloc
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[None] | None = asyncio.get_running_loop().create_future()
        self._proof = b""

    @classmethod
    async def opened(cls, daemon: DaemonAddress) -> ProvedConnection | None:
        """A proved one; None when nobody listens, or somebody who cannot prove to be this daemon."""
        address = urlsplit(daemon.url)
        made = cls(daemon)
        connecting = asyncio.get_running_loop().create_connection(
            lambda: made, address.hostname or "", address.port or 80
        )
        try:
            await asyncio.wait_for(connecting, CONNECT_TIMEOUT)
            if await made._has_proved():
                return made
        except (OSError, asyncio.TimeoutError):
            pass
        except asyncio.CancelledError:
            made.abort()
            raise
        made.abort()
        return None

    async def _has_proved(self) -> bool:
        if self._transport is None or self._answered is None:
            return False
        nonce = os.urandom(NONCE_BYTES).hex()
        place = endpoint_of(self._transport.get_extra_info("peername"))
        self.write(f"GET {PAGE}?nonce={nonce} HTTP/1.1\r\nHost: {self._netloc}\r\n\r\n".encode())
        await asyncio.wait_for(self._answered, PROOF_TIMEOUT)
        self._answered = None
        proof = self._proof.partition(_END)[2].strip()
        return hmac.compare_digest(proof, self.key.proof(nonce, place).encode())

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Send a part of a request."""
        if self._transport is not None:
            self._transport.write(data)

    def abort(self) -> None:
        """Close at once; its user is not told."""
        self.user = None
        if self._transport is not None:
            self._transport.abort()

    def pause_reading(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    # --- asyncio's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._answered is not None:
            if not self._answered.done():
                _fail(self._answered, ConnectionResetError("closed before the proof"))
        elif self.user is not None:
            self.user.connection_ended(exc)

    def data_received(self, data: bytes) -> None:
        if self.user is not None:
            self.user.response_received(data)
        elif self._answered is None or self._answered.done():
            self.abort()  # nothing was asked
        else:
            self._proof += data
            try:
                if _is_whole(self._proof):
                    self._answered.set_result(None)
            except ConnectionError as error:
                _fail(self._answered, error)

    def pause_writing(self) -> None:
        if self.user is not None:
            self.user.pause_request()

    def resume_writing(self) -> None:
        if self.user is not None:
            self.user.resume_request()


def _fail(waited_for: asyncio.Future[None], error: Exception) -> None:
    waited_for.set_exception(error)
    waited_for.exception()  # asyncio would log it where the connection was given up, and nobody waits


def _is_whole(answer: bytes) -> bool:
    """Whether a response of the daemon has come to its end; `ConnectionError` where its head does not say that."""
    head, found, body = answer.partition(_END)
    size = _SIZE.search(head + b"\r\n")
    if len(answer) > LARGEST_ANSWER or (found and size is None):
        raise ConnectionError("this is no daemon")
    return bool(found) and size is not None and len(body) >= int(size["bytes"])
