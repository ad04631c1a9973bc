"""Responses from the cache: bodies in memory, and parts of files."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

from multidict import CIMultiDict, CIMultiDictProxy

from ppmproxy.auth.redaction import Redactor
from ppmproxy.config.network import HOP_BY_HOP
from ppmproxy.errors import UpstreamUnreachableError
from ppmproxy.upstream.messages import Headers, Relay, UpstreamResponse

FIRST_PIECE = 1 << 16  # bytes that are read into memory; the rest goes from file to socket
NOTHING_TO_MASK = (
    Redactor()
)  # for what is kept: a page that shows a secret is not, and a file's body is never a message
SENT_AT_ONCE = 1 << 20  # bytes from file to socket, after which progress is known

# Of the connection, of the transfer, or replaced here.
_NOT_KEPT = HOP_BY_HOP | {
    "accept-ranges", "age", "alt-svc", "cache-control", "cache-status", "content-encoding", "content-length",
    "content-range", "date", "etag", "expires", "last-modified", "location", "pragma", "proxy-authenticate", "server",
    "set-cookie", "set-cookie2", "strict-transport-security", "vary", "via", "www-authenticate",
}  # fmt: skip


def kept_headers(fields: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers of an answer that are kept with its body."""
    return [(name, value) for name, value in fields if name.lower() not in _NOT_KEPT]


def fields_of(headers: Iterable[tuple[str, str]]) -> CIMultiDictProxy[str]:
    """Headers as a response has them."""
    return CIMultiDictProxy(CIMultiDict(headers))


def without(headers: Headers, *names: str) -> Headers:
    """A request's headers without some."""
    return [(name, value) for name, value in headers if name.lower() not in names]


@dataclass(frozen=True, slots=True)
class CopiedResponse(UpstreamResponse):
    """A response whose body is copied to the client chunk by chunk."""

    @property
    def has_large_rest(self) -> bool:
        """See `UpstreamResponse`."""
        return False

    def relay_to(self, client: asyncio.WriteTransport) -> AbstractContextManager[Relay]:
        """See `UpstreamResponse`; never called, because there is no large rest."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryResponse(CopiedResponse):
    """A response whose body is in memory."""

    rest: list[bytes] = field(default_factory=list, repr=False)

    async def chunk(self) -> bytes:
        """See `UpstreamResponse`."""
        return self.rest.pop(0) if self.rest else b""


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunResponse(UpstreamResponse):
    """A response of which the first chunks were read already."""

    begun: list[bytes] = field(repr=False)
    response: UpstreamResponse = field(repr=False)

    @classmethod
    def of(cls, response: UpstreamResponse, begun: list[bytes], cache: str) -> BegunResponse:
        """The response as it was before these chunks were read."""
        return cls(
            response.status,
            response.reason,
            response.fields,
            response.url,
            response.credential,
            response.has_carried_token,
            response.redactor,
            cache,
            begun=begun,
            response=response,
        )

    async def chunk(self) -> bytes:
        """See `UpstreamResponse`."""
        return self.begun.pop(0) if self.begun else await self.response.chunk()

    @property
    def has_large_rest(self) -> bool:
        """See `UpstreamResponse`."""
        return not self.begun and self.response.has_large_rest

    @contextmanager
    def relay_to(self, client: asyncio.WriteTransport) -> Iterator[Relay]:
        """See `UpstreamResponse`."""
        with self.response.relay_to(client) as relay:
            yield relay


@dataclass(slots=True)
class FilePart:
    """What is still to be sent of an open file."""

    file: BinaryIO
    at: int
    left: int

    def read(self, size: int) -> bytes:
        """The next bytes; `UpstreamUnreachableError` where the file has become shorter."""
        if not self.left:
            return b""
        self.file.seek(self.at)
        data = self.file.read(min(size, self.left))
        if not data:
            raise _too_short()
        self.at += len(data)
        self.left -= len(data)
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class FileResponse(UpstreamResponse):
    """A response whose body is a part of an open file."""

    part: FilePart = field(repr=False)

    async def chunk(self) -> bytes:
        """See `UpstreamResponse`."""
        return self.part.read(FIRST_PIECE)

    @property
    def has_large_rest(self) -> bool:
        """See `UpstreamResponse`."""
        return sys.platform != "win32" and self.part.left > FIRST_PIECE

    @contextmanager
    def relay_to(self, client: asyncio.WriteTransport) -> Iterator[Relay]:
        """See `UpstreamResponse`."""
        low, high = client.get_write_buffer_limits()
        relay = FileRelay(self.part, client)
        try:
            yield relay
        finally:
            relay.close()
            client.set_write_buffer_limits(high, low)


class FileRelay:
    """The rest of a file on its way to a client, by sendfile(2), or by copies where TLS has to encrypt it.

    Over a descriptor of its own: asyncio's `sendfile` fails in its transport when the client leaves meanwhile.
    """

    def __init__(self, part: FilePart, client: asyncio.WriteTransport) -> None:
        self._part = part
        self._client = client
        if client.is_closing():
            raise ConnectionResetError("the client has left")
        self.is_encrypted = client.get_extra_info("sslcontext") is not None  # the socket is below TLS then
        self._socket = os.dup(client.get_extra_info("socket").fileno())

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._socket)

    @property
    def left(self) -> int:
        """Bytes that have not been handed on yet."""
        return self._part.left

    @property
    def awaited_since(self) -> float | None:
        """A file is never waited for."""
        return None

    async def relay_until_blocked(self) -> None:
        """Hand on the next bytes; returns when the system has taken them. What is buffered goes first."""
        if self._client.get_write_buffer_size():
            self._client.set_write_buffer_limits(0)  # so that a `drain` lasts until nothing is left
            return
        if self.is_encrypted:
            self._client.write(self._part.read(FIRST_PIECE))
            return
        await self.send(self._part.left)

    async def send(self, most: int) -> None:
        """Hand on some of so many bytes of the file, as soon as the system takes any; not through TLS."""
        if (sent := self._sent(most)) is None:
            await self._writable()
            return
        if not sent:
            raise _too_short()
        self._part.at += sent
        self._part.left -= sent
        await asyncio.sleep(0)

    def _sent(self, most: int) -> int | None:
        """How many bytes the system took; None where it takes none at the moment."""
        if sys.platform == "win32":
            raise NotImplementedError
        else:  # noqa: RET506 - mypy takes what follows for unreachable on the other platforms
            part = self._part
            try:
                return os.sendfile(self._socket, part.file.fileno(), part.at, min(most, SENT_AT_ONCE))
            except BlockingIOError:
                return None

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        writable: asyncio.Future[None] = loop.create_future()
        loop.add_writer(self._socket, _resolve, writable)
        try:
            await writable
        finally:
            loop.remove_writer(self._socket)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _too_short() -> UpstreamUnreachableError:
    return UpstreamUnreachableError("a file of the cache was truncated while it was sent", "try again")
