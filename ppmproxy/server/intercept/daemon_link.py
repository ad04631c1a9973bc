"""Requests of one intercepted connection, answered by the running daemon: what it sends passes through unread.

The daemon alone has the token. It is asked by a mode of its own (`INTERCEPT_HEADER`), in which the request's real URL
decides and links stay as they are, and which takes the daemon's key. Its restart is waited for.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from ppmproxy.auth.origin import Origin
from ppmproxy.errors import PpmProxyError, UpstreamUnreachableError
from ppmproxy.server.intercept.daemon_connection import DaemonAddress, ProvedConnection
from ppmproxy.server.intercept.intercepted_request import InterceptedRequest
from ppmproxy.server.intercept.response_ends import ResponseEnds

RESTART_WITHIN = 5.0  # seconds in which a service manager has the daemon back
RESTART_POLL = 0.25  # seconds


class LinkedClient(Protocol):
    """The client's side."""

    @property
    def transport(self) -> asyncio.Transport | None: ...
    def refuse(self, error: PpmProxyError) -> None: ...
    def abort(self) -> None: ...


class DaemonLink:
    """Asks the daemon for one client, over one connection at a time."""

    def __init__(self, daemon: DaemonAddress, origin: Origin, client: LinkedClient) -> None:
        self._daemon = daemon
        self._origin = str(origin)
        self._client = client
        self._connection: ProvedConnection | None = None
        self._opening: asyncio.Task[None] | None = None
        self._waiting: list[InterceptedRequest | bytes] = []  # for a connection
        self._asked = 0  # over this connection
        self._unanswered: InterceptedRequest | None = None  # and repeatable
        self._responses = ResponseEnds()

    # --- the client's side ---

    @property
    def has_answered_all(self) -> bool:
        return self._responses.has_answered_all

    def ask(self, request: InterceptedRequest) -> None:
        self._responses.asked(request.method)
        self._send(request)

    def receive_body(self, data: bytes) -> None:
        self._send(data)

    def pause_response(self) -> None:
        if self._connection is not None:
            self._connection.pause_reading()

    def resume_response(self) -> None:
        if self._connection is not None:
            self._connection.resume_reading()

    def close(self, error: Exception | None) -> None:  # noqa: ARG002 - the daemon sees no difference
        if self._opening is not None:
            self._opening.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    def _send(self, what: InterceptedRequest | bytes) -> None:
        if self._connection is None and self._opening is None and self._may_be_repeated(what):
            self._use_ready()
        if self._connection is not None:
            self._connection.write(self._on_the_wire(what, self._connection))
            return
        self._waiting.append(what)
        if self._opening is None:
            if self._client.transport is not None:
                self._client.transport.pause_reading()
            self._opening = asyncio.create_task(self._open())

    def _may_be_repeated(self, what: InterceptedRequest | bytes) -> bool:
        return isinstance(what, InterceptedRequest) and what.is_repeatable

    def _use_ready(self) -> None:
        """Use a connection that is ready, as one that was idle after its first request, which was the proof."""
        self._connection, self._asked = self._daemon.take_ready(), 1
        if self._connection is not None:
            self._connection.user = self

    def _on_the_wire(self, what: InterceptedRequest | bytes, connection: ProvedConnection) -> bytes:
        if isinstance(what, bytes):
            return what
        self._asked += 1
        self._unanswered = what if what.is_repeatable else None
        proof = connection.key.intercept_header(self._origin, what.method, what.target)
        return what.for_daemon(self._daemon.netloc, proof)

    # --- opening ---

    async def _open(self) -> None:
        try:
            connection = await self._proved_connection()
        except PpmProxyError as error:
            self._client.refuse(error)
            return
        finally:
            self._opening = None
        self._connection, connection.user, self._asked = connection, self, 0
        waiting, self._waiting = self._waiting, []
        for what in waiting:
            self._send(what)
        if self._client.transport is not None:
            self._client.transport.resume_reading()

    async def _proved_connection(self) -> ProvedConnection:
        """A connection to a daemon that may have been restarted; `UpstreamUnreachableError`."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + RESTART_WITHIN
        while True:
            connection = await ProvedConnection.opened(self._daemon)
            if connection is not None:
                return connection
            key = await asyncio.to_thread(self._daemon.find_key)
            if clock() >= deadline:
                what = f"the ppmproxy at {self._daemon.url} does not answer, or has no proof that it is yours"
                raise UpstreamUnreachableError(what, "start it again with `ppmproxy run`")
            if key is None or key == self._daemon.key:
                await asyncio.sleep(RESTART_POLL)
            else:
                self._daemon.key = key

    # --- the daemon's side ---

    def response_received(self, data: bytes) -> None:
        if self._client.transport is not None:
            self._unanswered = None
            self._responses.received(data)
            self._client.transport.write(data)

    def connection_ended(self, error: Exception | None) -> None:
        again, self._connection = self._unanswered, None
        # Closed as idle at that very moment; of two requests, only the second one would be asked again.
        if again is not None and self._asked > 1 and self._responses.missing == 1:
            self._unanswered = None
            self._send(again)
        elif error is not None:
            self._client.abort()  # so that a body without a length does not seem to be whole
        elif self._client.transport is not None:
            self._client.transport.close()

    def pause_request(self) -> None:
        if self._client.transport is not None:
            self._client.transport.pause_reading()

    def resume_request(self) -> None:
        if self._client.transport is not None:
            self._client.transport.resume_reading()
