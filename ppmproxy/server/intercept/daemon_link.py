"""A connection to the running daemon for one intercepted connection: proved, then passed through in both directions.

The daemon alone has the token. It is asked by a mode of its own (`INTERCEPT_HEADER`), in which the request's real URL
decides and links stay as they are, and which takes the daemon's key. The daemon proves itself over each connection
before anything is asked over it: after its end anybody may listen there. Its restart is waited for.
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

from ppmproxy.access.daemon_identity import LARGEST_ANSWER, NONCE_BYTES, PAGE, IdentityKey, endpoint_of
from ppmproxy.auth.origin import Origin
from ppmproxy.errors import PpmProxyError, UpstreamUnreachableError
from ppmproxy.server.intercept.intercepted_request import HEAD_END, InterceptedRequest

CONNECT_TIMEOUT = 10.0  # seconds
PROOF_TIMEOUT = 10.0  # seconds; the daemon may be busy with the requests of the command
RESTART_WITHIN = 5.0  # seconds in which a service manager has the daemon back
RESTART_POLL = 0.25  # seconds

_SIZE = re.compile(rb"\r\ncontent-length:[ \t]*(?P<bytes>[0-9]{1,9})[ \t]*\r\n", re.IGNORECASE)


@dataclass(slots=True)
class DaemonAddress:
    """Where the daemon is asked, and how it proves to be this user's."""

    url: str  # http://127.0.0.1:7760
    key: IdentityKey = field(repr=False)  # of the daemon that was found last
    find_key: Callable[[], IdentityKey | None] = field(repr=False)  # of who is there now; None: a stranger. Blocks

    @property
    def netloc(self) -> str:
        return urlsplit(self.url).netloc


class LinkedClient(Protocol):
    """The client's side."""

    @property
    def transport(self) -> asyncio.Transport | None: ...
    def refuse(self, error: PpmProxyError) -> None: ...
    def abort(self) -> None: ...


class DaemonLink(asyncio.Protocol):
    """Asks the daemon for one client, over one connection at a time."""

    def __init__(self, daemon: DaemonAddress, origin: Origin, client: LinkedClient) -> None:
        self._daemon = daemon
        self._origin = str(origin)
        self._client = client
        self._transport: asyncio.Transport | None = None
        self._is_proved = False
        self._proof = bytearray()  # what has come of the answer that proves it
        self._answered: asyncio.Future[None] | None = None
        self._waiting: list[InterceptedRequest | bytes] = []  # for a proof
        self.is_silent = False
        self._asked = 0
        self._unanswered: InterceptedRequest | None = None  # asked over this connection, and repeatable
        self._opening: asyncio.Task[None] | None = None

    # --- the client's side ---

    def ask(self, request: InterceptedRequest) -> None:
        self.is_silent = True
        self._send(request)

    def receive_body(self, data: bytes) -> None:
        self._send(data)

    def pause_response(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_response(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def close(self, error: Exception | None) -> None:  # noqa: ARG002 - as the daemon sees no difference
        if self._opening is not None:
            self._opening.cancel()
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    def _send(self, what: InterceptedRequest | bytes) -> None:
        if self._is_proved and self._transport is not None:
            self._transport.write(self._on_the_wire(what))
            return
        self._waiting.append(what)
        if self._opening is None:
            if self._client.transport is not None:
                self._client.transport.pause_reading()
            self._opening = asyncio.create_task(self._open())

    def _on_the_wire(self, what: InterceptedRequest | bytes) -> bytes:
        if isinstance(what, bytes):
            return what
        self._asked += 1
        self._unanswered = what if what.is_repeatable else None
        proof = self._daemon.key.intercept_header(self._origin, what.method, what.target)
        return what.for_daemon(self._daemon.netloc, proof)

    # --- opening ---

    async def _open(self) -> None:
        try:
            await self._until_proved()
        except PpmProxyError as error:
            self._client.refuse(error)
            return
        finally:
            self._opening = None
        waiting, self._waiting = self._waiting, []
        for what in waiting:
            self._send(what)
        if self._client.transport is not None:
            self._client.transport.resume_reading()

    async def _until_proved(self) -> None:
        """A proved connection, to a daemon that may have been restarted; `UpstreamUnreachableError`."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + RESTART_WITHIN
        while not await self._connected_and_proved():
            key = await asyncio.to_thread(self._daemon.find_key)
            if clock() >= deadline:
                what = f"the proxy at {self._daemon.url} does not answer, or cannot prove to be yours"
                raise UpstreamUnreachableError(what, "see `ppmproxy status`, and start it again")
            if key is None or key == self._daemon.key:
                await asyncio.sleep(RESTART_POLL)
            else:
                self._daemon.key = key

    async def _connected_and_proved(self) -> bool:
        address = urlsplit(self._daemon.url)
        loop = asyncio.get_running_loop()
        connecting = loop.create_connection(lambda: self, address.hostname or "", address.port or 80)
        self._answered, self._proof = loop.create_future(), bytearray()
        try:
            transport, _ = await asyncio.wait_for(connecting, CONNECT_TIMEOUT)
            try:
                self._is_proved = await self._has_proved(transport, self._answered)
            finally:
                if not self._is_proved:
                    transport.abort()
        except (OSError, asyncio.TimeoutError):
            return False
        finally:
            self._answered = None
        self._transport = transport if self._is_proved else None
        return self._is_proved

    async def _has_proved(self, transport: asyncio.Transport, answered: asyncio.Future[None]) -> bool:
        nonce = os.urandom(NONCE_BYTES).hex()
        place = endpoint_of(transport.get_extra_info("peername"))
        transport.write(f"GET {PAGE}?nonce={nonce} HTTP/1.1\r\nHost: {self._daemon.netloc}\r\n\r\n".encode())
        await asyncio.wait_for(answered, PROOF_TIMEOUT)
        proof = bytes(self._proof).partition(HEAD_END)[2].strip()
        return hmac.compare_digest(proof, self._daemon.key.proof(nonce, place).encode())

    # --- the daemon's side ---

    def data_received(self, data: bytes) -> None:
        if self._answered is not None:
            self._read_proof(data, self._answered)
        elif self._transport is not None and self._client.transport is not None:
            self._unanswered, self.is_silent = None, False
            self._client.transport.write(data)

    def _read_proof(self, data: bytes, answered: asyncio.Future[None]) -> None:
        self._proof += data
        try:
            is_whole = _is_whole(bytes(self._proof))
        except ConnectionError as error:
            if not answered.done():
                answered.set_exception(error)
        else:
            if is_whole and not answered.done():
                answered.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered is not None:
            if not self._answered.done():
                self._answered.set_exception(ConnectionResetError("closed before the proof"))
            return
        if self._transport is None:  # closed by the client's side, or never proved
            return
        again, self._transport, self._is_proved = self._unanswered, None, False
        if again is not None and self._asked > 1:  # closed as idle at that very moment
            self._unanswered, self._asked = None, 0
            self._send(again)
        elif exc is not None:
            self._client.abort()  # so that a body without a length does not seem to be whole
        elif self._client.transport is not None:
            self._client.transport.close()

    def pause_writing(self) -> None:
        if self._client.transport is not None:
            self._client.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._client.transport is not None:
            self._client.transport.resume_reading()


def _is_whole(answer: bytes) -> bool:
    """Whether a response of the daemon has come to its end; `ConnectionError` where its head does not say that."""
    head, found, body = answer.partition(HEAD_END)
    size = _SIZE.search(head + b"\r\n")
    if len(answer) > LARGEST_ANSWER or (found and size is None):
        raise ConnectionError("this is no daemon")
    return bool(found) and size is not None and len(body) >= int(size["bytes"])
