"""Requests that the fake Package Manager received, byte for byte as they were sent."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web

KEPT = 64 * 1024  # bytes of a body that are kept for tests


@dataclass(eq=False)
class ReceivedRequest:
    """One request, and what was sent in response."""

    method: str
    target: str  # path and query, undecoded
    headers: tuple[tuple[str, str], ...]  # in the order and the case in which they came
    connection: int  # the client's port: equal for requests on one connection
    at: float  # the event loop's time of arrival
    body: bytes = b""  # the beginning
    body_length: int = 0
    body_sha256: str = field(default_factory=lambda: hashlib.sha256().hexdigest())
    fields: dict[str, str] = field(default_factory=dict)  # the small fields of a form
    status: int | None = None  # of the response; None: none was sent
    sent: int = 0  # bytes of the response's body that were written
    client_left: bool = False  # before the end of its request or of the response

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


def received_request(request: web.BaseRequest, now: float) -> ReceivedRequest:
    """The record of a request whose head has arrived."""
    headers = tuple((key.decode("latin-1"), value.decode("latin-1")) for key, value in request.raw_headers)
    transport = request.transport
    peer = transport.get_extra_info("peername") if transport else None
    return ReceivedRequest(request.method, request.raw_path, headers, peer[1] if peer else 0, now)


async def receive(request: web.BaseRequest, received: ReceivedRequest, limit: int | None = None) -> bytes:
    """Read a request's body, or about `limit` bytes of it, and record it."""
    digest = hashlib.sha256()
    body = bytearray()
    async for piece in request.content.iter_chunked(65536):
        digest.update(piece)
        body += piece
        received.body_length = len(body)
        if limit is not None and len(body) >= limit:
            break
    received.body_sha256 = digest.hexdigest()
    received.body = bytes(body[:KEPT])
    return bytes(body)
