"""Requests answered in this process: by a protocol of HTTP that is fed with them, without a connection of its own.

That protocol writes to the client's transport itself. It holds it only until the client's next request is for another:
what it does to the transport afterwards, such as to close an idle connection, has no effect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ppmproxy.server.intercept.intercepted_request import InterceptedRequest
from ppmproxy.server.intercept.response_ends import ResponseEnds


class HandlerAnswerer:
    """Feeds a protocol that answers HTTP, such as a connection of the daemon in this process."""

    def __init__(
        self, handler: asyncio.Protocol, client: asyncio.Transport, encoded: Callable[[InterceptedRequest], bytes]
    ) -> None:
        self._handler = handler
        self._encoded = encoded
        self._lent = LentTransport(client)
        handler.connection_made(self._lent)

    @property
    def has_answered_all(self) -> bool:
        return self._lent.responses.has_answered_all

    def ask(self, request: InterceptedRequest) -> None:
        self._lent.responses.asked(request.method)
        self._handler.data_received(self._encoded(request))

    def receive_body(self, data: bytes) -> None:
        self._handler.data_received(data)

    def pause_response(self) -> None:
        self._handler.pause_writing()

    def resume_response(self) -> None:
        self._handler.resume_writing()

    def close(self, error: Exception | None) -> None:
        self._lent.take_back()
        self._handler.connection_lost(error)


class LentTransport(asyncio.Transport):
    """A transport until it is taken back, and a closed one from then on."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport: asyncio.Transport | None = transport
        self._last = transport
        self.responses = ResponseEnds()

    def take_back(self) -> None:
        """Leave the transport alone from now on."""
        self._transport = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._last.get_extra_info(name, default)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._last.get_protocol()

    def is_closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.responses.received(data)
        if self._transport is not None:
            self._transport.write(data)

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._last.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if self._transport is not None:
            self._transport.set_write_buffer_limits(high, low)

    def is_reading(self) -> bool:
        return self._transport is not None and self._transport.is_reading()

    def pause_reading(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()
