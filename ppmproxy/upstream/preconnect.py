"""Connections that are opened before the first request, as browsers preconnect.

A client that starts with the daemon, as in a CI job, asks for many pages at once, and each request would first wait two
round trips for a connection of its own (TCP and TLS). Nothing is sent on these connections, no token either, until a
request is given one; those that none was given are closed after `UNUSED_FOR`.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohappyeyeballs

from ppmproxy.auth.origin import Origin

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler

    _Addresses = asyncio.Future[Sequence[aiohappyeyeballs.AddrInfoType]]

AT_START = 24  # connections; uv asks for up to 50 pages at once, and each one takes 0.25 MB
OPENED_WITHIN = 1.0  # seconds, which is also the longest that a request waits for one
UNUSED_FOR = 5.0  # seconds, after which one would be doubtful (`connector.DOUBTFUL_AFTER`)
NEXT_ADDRESS_AFTER = 0.25  # seconds, as RFC 8305 section 5 recommends and aiohttp does


@dataclass(frozen=True, slots=True)
class Preconnected:
    """A connection on which no request was sent, open since `opened_at` on the clock."""

    protocol: ResponseHandler = field(repr=False)
    opened_at: float


@dataclass(frozen=True, slots=True)
class _Opening:
    """A connection that is being opened, or is open already, and what its server's certificate is checked with."""

    tls: ssl.SSLContext
    task: asyncio.Task[Preconnected]


@dataclass(frozen=True, slots=True)
class Preconnections:
    """The unused connections to one origin; `close` them in the end."""

    origin: Origin
    clock: Callable[[], float] = time.monotonic
    opened_within: float = OPENED_WITHIN
    unused_for: float = UNUSED_FOR
    _opening: list[_Opening] = field(default_factory=list)

    def open(self, factory: Callable[[], ResponseHandler], tls: ssl.SSLContext, count: int) -> None:
        """Begin to open connections; a failure is for the first request to meet and to explain."""
        loop = asyncio.get_running_loop()
        addresses = asyncio.ensure_future(self._addresses())
        addresses.add_done_callback(_retrieve)
        for _ in range(count):
            opened = self._opened_in_time(addresses, factory, tls)
            self._opening.append(_Opening(tls, asyncio.create_task(opened)))
        loop.call_later(self.unused_for, self.close)

    async def _addresses(self) -> Sequence[aiohappyeyeballs.AddrInfoType]:
        loop = asyncio.get_running_loop()
        return await loop.getaddrinfo(self.origin.host, self.origin.port, type=socket.SOCK_STREAM)

    async def _opened_in_time(
        self, addresses: _Addresses, factory: Callable[[], ResponseHandler], tls: ssl.SSLContext
    ) -> Preconnected:
        return await asyncio.wait_for(self._opened(addresses, factory, tls), self.opened_within)

    async def _opened(
        self, addresses: _Addresses, factory: Callable[[], ResponseHandler], tls: ssl.SSLContext
    ) -> Preconnected:
        await asyncio.wait([addresses])  # not `shield`, which may log the failure of what nobody waits for any more
        infos = list(addresses.result())
        sock = await aiohappyeyeballs.start_connection(infos, happy_eyeballs_delay=NEXT_ADDRESS_AFTER)
        is_tls = self.origin.scheme == "https"
        name = self.origin.host.rstrip(".") if is_tls else None
        _, protocol = await asyncio.get_running_loop().create_connection(
            factory, sock=sock, ssl=tls if is_tls else None, server_hostname=name
        )
        return Preconnected(protocol, self.clock())

    async def take(self, origin: Origin, tls: ssl.SSLContext) -> Preconnected | None:
        """A connection to this origin, checked with this context; None where there is none, or none in time."""
        while (found := self._best(origin, tls)) is not None:
            self._opening.remove(found)
            try:
                await asyncio.wait([found.task])
            except asyncio.CancelledError:
                _abandon(found)
                raise
            if not found.task.cancelled() and found.task.exception() is None:
                return found.task.result()
        return None

    def _best(self, origin: Origin, tls: ssl.SSLContext) -> _Opening | None:
        """One that is open, else the one that was begun first."""
        fitting = [one for one in self._opening if one.tls is tls] if origin == self.origin else []
        return next((one for one in fitting if one.task.done()), fitting[0] if fitting else None)

    def close(self) -> None:
        """Close those that no request was given."""
        for one in self._opening:
            _abandon(one)
        self._opening.clear()


def _abandon(opening: _Opening) -> None:
    opening.task.cancel()
    opening.task.add_done_callback(_abort)


def _abort(task: asyncio.Task[Preconnected]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().protocol.abort()


def _retrieve(addresses: _Addresses) -> None:
    """Mark the error as retrieved; asyncio would log it where every connection was given up before."""
    if not addresses.cancelled():
        addresses.exception()
