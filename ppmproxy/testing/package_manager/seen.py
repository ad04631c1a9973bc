"""What the stand-in was asked: each request as it came on the wire."""

from __future__ import annotations

import hashlib
import mmap
import tempfile
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web

KEPT = 64 * 1024  # bytes of a body that stay to be looked at
IN_MEMORY = 1024 * 1024  # a longer body goes to disk

Received = bytes | mmap.mmap


@dataclass(eq=False)
class ReceivedRequest:
    """One request, and what became of it."""

    method: str
    target: str  # path and query, undecoded
    headers: tuple[tuple[str, str], ...]  # in the order and the case in which they came
    connection: int  # the client's port: equal for requests on one connection
    at: float  # the event loop's time of arrival
    body: bytes = b""  # the beginning
    body_length: int = 0
    body_sha256: str = field(default_factory=lambda: hashlib.sha256().hexdigest())
    fields: dict[str, str] = field(default_factory=dict)  # the small fields of a form
    status: int | None = None  # answered; None: no answer
    sent: int = 0  # bytes of the answer's body that were written
    left: bool = False  # whether the client went away before the end of its request, or of the answer

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def authorization(self) -> str | None:
        return self.header("Authorization")

    def header(self, name: str) -> str | None:
        """A header's value; several of the same name are joined with commas."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None

    def __str__(self) -> str:
        return f"{self.method} {self.target} -> {self.status}"


def seen_of(request: web.BaseRequest, now: float) -> ReceivedRequest:
    """The request's head."""
    headers = tuple((key.decode("latin-1"), value.decode("latin-1")) for key, value in request.raw_headers)
    transport = request.transport
    peer = transport.get_extra_info("peername") if transport else None
    return ReceivedRequest(request.method, request.raw_path, headers, peer[1] if peer else 0, now)


async def receive(request: web.BaseRequest, seen: ReceivedRequest, limit: int | None = None) -> Received:
    """Read a request's body, or no more than about `limit` bytes of it, and remember what it was."""
    digest = hashlib.sha256()
    start = bytearray()
    with tempfile.TemporaryFile() as spool:
        async for piece in request.content.iter_chunked(65536):
            digest.update(piece)
            seen.body_length += len(piece)
            if seen.body_length > IN_MEMORY:
                spool.write(start + piece)
                start.clear()
            else:
                start += piece
            if limit is not None and seen.body_length >= limit:
                break
        seen.body_sha256 = digest.hexdigest()
        body = _kept(spool, start)
    seen.body = bytes(body[:KEPT])
    return body


def _kept(spool: IO[bytes], start: bytearray) -> Received:
    spool.flush()
    if spool.tell() == 0:
        return bytes(start)
    return mmap.mmap(spool.fileno(), 0, access=mmap.ACCESS_READ)
