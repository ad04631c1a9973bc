"""Requests for the Package Manager and its responses, whatever delivers them."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from multidict import CIMultiDictProxy

from ppmproxy.auth.credential import Credential
from ppmproxy.auth.policy import Scheme
from ppmproxy.auth.redaction import Redactor
from ppmproxy.index.codings import codings_of

Headers = list[tuple[str, str]]  # names and values, in order, repeated names included


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One request, before it is decided hop by hop what authorizes it."""

    method: str
    url: str
    headers: Headers
    credential: Credential | None = None
    scheme: Scheme = Scheme.BEARER
    body: bytes | AsyncIterator[bytes] | None = None
    follows_redirects: bool = True

    def offering(self, credential: Credential | None, scheme: Scheme) -> UpstreamRequest:
        """The same request with a credential; written out, because `dataclasses.replace` would slow every request."""
        return UpstreamRequest(
            self.method, self.url, self.headers, credential, scheme, self.body, self.follows_redirects
        )

    @property
    def is_repeatable(self) -> bool:
        """Whether sending it twice does no harm (RFC 9110 section 9.2.2)."""
        return self.method in {"GET", "HEAD"}


class Relay(Protocol):
    """The rest of a body on its way to a client."""

    @property
    def left(self) -> int:
        """Bytes that have not been handed on yet."""

    @property
    def awaited_since(self) -> float | None:
        """Since when the source has sent nothing, on the event loop's clock; None while the client has to catch up."""

    async def relay_until_blocked(self) -> None:
        """Hand on what there is until the client has to catch up or nothing is left; `UpstreamError` if it is cut."""


@dataclass(frozen=True, slots=True)
class UpstreamResponse(ABC):
    """A response's head, with every known secret masked, and its body still to come."""

    status: int
    reason: str
    fields: CIMultiDictProxy[str] = field(repr=False)
    url: str  # where it finally came from
    credential: Credential | None = field(default=None, repr=False)  # the one that was offered
    has_carried_token: bool = False  # at any hop; a redirect from there means that it was accepted
    redactor: Redactor = field(default_factory=Redactor, repr=False)  # what else the server says is masked with it
    cache: str = ""  # what a cache did for it, in the words of ``Cache-Status`` (RFC 9211)

    @property
    def headers(self) -> Headers:
        """Names and values, in their order."""
        return list(self.fields.items())

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return self.fields.get(name)

    @property
    def codings(self) -> tuple[str, ...]:
        """The content codings of the body, in the order in which they were applied."""
        return codings_of(self.fields.getall("Content-Encoding", ()))

    @property
    def is_kept_page(self) -> bool:
        """Whether it is an index page that the cache keeps, with what was made of it for clients."""
        return False

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, as it arrives; `UpstreamError` when it is cut short or stalls."""
        while chunk := await self.chunk():
            yield chunk

    @abstractmethod
    async def chunk(self) -> bytes:
        """What has arrived of the body and was not given out yet, b"" at its end; errors as for `chunks`."""

    @property
    @abstractmethod
    def has_large_rest(self) -> bool:
        """Whether so much of the body is still to come that `relay_to` is worth it."""

    @abstractmethod
    def relay_to(self, client: asyncio.WriteTransport) -> AbstractContextManager[Relay]:
        """Hand the rest of a body of known length to a client's connection, without a copy where that can be had."""
