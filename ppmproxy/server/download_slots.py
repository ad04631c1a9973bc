"""The limit of one upstream's downloads, so that pages, metadata and API calls always have connections left.

Fifty is the number of connections, and of uv's parallel downloads: sixty slow files kept every page of every other
client waiting.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from ppmproxy.credentials.fetching import Fetcher
from ppmproxy.credentials.lookup import LookupResult
from ppmproxy.errors import PpmProxyError
from ppmproxy.index.routing import ResourceKind, Target
from ppmproxy.server.upstream_state import Downloads
from ppmproxy.upstream.messages import UpstreamRequest, UpstreamResponse

RESERVED_SHARE = 5  # one of so many connections is not for downloads


class DownloadLimitError(PpmProxyError):
    """All connections that downloads may use are in use, and stayed so for as long as a client can wait."""

    code = "too-many-downloads"
    status = HTTPStatus.SERVICE_UNAVAILABLE
    title = "too many downloads at once"


def is_download(method: str, target: Target) -> bool:
    """Whether a request may occupy a connection for long: a file, but not its metadata (PEP 658)."""
    path = target.url.partition("?")[0]
    return method == "GET" and target.kind is ResourceKind.FILE and not path.endswith(".metadata")


class Queued(Protocol):
    """A request that is to know whether it waits for a place."""

    waits_for_slot: bool


@dataclass(frozen=True, slots=True)
class QueuedFetcher:
    """The `Fetcher` that asks for a file only when there is a place for the download."""

    fetcher: Fetcher
    slots: DownloadSlots
    queued: Queued
    waits_until: float  # on the event loop's clock

    @asynccontextmanager
    async def fetch(
        self, target: Target, request: UpstreamRequest, lookup: LookupResult
    ) -> AsyncIterator[UpstreamResponse]:
        """As `Fetcher` says; `DownloadLimitError` where no place became free in time."""
        async with AsyncExitStack() as stack:
            if is_download(request.method, target):
                patience = self.waits_until - asyncio.get_running_loop().time()
                self.queued.waits_for_slot = True
                try:
                    await stack.enter_async_context(self.slots.slot(max(0.0, patience)))
                finally:
                    self.queued.waits_for_slot = False
            yield await stack.enter_async_context(self.fetcher.fetch(target, request, lookup))


class DownloadSlots:
    """The places of downloads; those that find none wait in their order."""

    def __init__(self, max_connections: int, report: Callable[[Downloads], None] = lambda _downloads: None) -> None:
        """`report` is called after each change."""
        self._limit = max(1, max_connections - -(-max_connections // RESERVED_SHARE))
        self._report = report
        self._used = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def slot(self, timeout: float) -> AsyncIterator[None]:
        """A place, as soon as there is one; `DownloadLimitError` after so many seconds."""
        await self._acquire(timeout)
        try:
            yield
        finally:
            self._release()

    async def _acquire(self, timeout: float) -> None:
        if self._used < self._limit:
            self._used += 1
            self._changed()
            return
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(timeout, self._give_up, turn)
        self._waiting.append(turn)
        self._changed()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._release()  # the place came together with the cancellation
            raise
        finally:
            timer.cancel()
            if turn in self._waiting:
                self._waiting.remove(turn)
            self._changed()

    def _give_up(self, turn: asyncio.Future[None]) -> None:
        if not turn.done():
            turn.set_exception(self.limit_error())

    def limit_error(self) -> DownloadLimitError:
        """The error for a client that has waited in vain."""
        what = f"{self._used} other downloads are running, and {len(self._waiting)} are waiting"
        return DownloadLimitError(what, "try again when they are done, or raise max_connections in the settings")

    def _release(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)  # the place is handed on
                break
        else:
            self._used -= 1
        self._changed()

    def _changed(self) -> None:
        self._report(Downloads(self._used, len(self._waiting)))
