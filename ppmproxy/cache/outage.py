"""Memory of an outage: an upstream that has just not answered is not waited for again at once.

A slow upstream is no outage; otherwise nothing in the cache would ever be revalidated. One answer that comes too late
for its client is waited for in the background, and from then on clients wait for twice as long as it took.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from http import HTTPStatus

from ppmproxy.errors import SILENT, PpmProxyError
from ppmproxy.upstream.cancellation import cancel_until_done
from ppmproxy.upstream.messages import UpstreamResponse

REMEMBERED = 10.0  # seconds
FIRST_TRY = 2.0  # seconds that decide where something usable is here
SLOW_FOR = 600.0  # seconds for which it is remembered how long an answer took


class OutageMemory:
    """Why an upstream did not answer a moment ago, and how long it takes when it is slow."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until = self._slow_until = float("-inf")
        self._why = ""
        self._slowest = 0.0

    @property
    def why(self) -> str:
        """Why it did not answer a moment ago; "" where it did, or that is longer ago."""
        return self._why if self._clock() < self._until else ""

    @property
    def patience(self) -> float:
        """Seconds after which a usable copy of the cache is sent instead of an answer."""
        return max(FIRST_TRY, 2 * self._slowest) if self._clock() < self._slow_until else FIRST_TRY

    def record(self, why: str) -> None:
        """Record that the upstream has not answered."""
        self._until, self._why = self._clock() + REMEMBERED, why

    def record_slow(self, seconds: float) -> None:
        """Record an answer that took so many seconds."""
        now = self._clock()
        self._slowest = max(seconds, self._slowest) if now < self._slow_until else seconds
        self._slow_until = now + SLOW_FOR
        self.end()

    def end(self) -> None:
        """Record an answer."""
        self._until = float("-inf")


class LateAnswer:
    """Waits for an answer that is too late for its client; for one at a time, lest a silent upstream hold many."""

    def __init__(self, outage: OutageMemory, clock: Callable[[], float]) -> None:
        self._outage = outage
        self._clock = clock
        self._waiting: asyncio.Task[None] | None = None

    async def soon(
        self,
        stack: AsyncExitStack,
        answer: AbstractAsyncContextManager[UpstreamResponse],
        judge_late: Callable[[UpstreamResponse | PpmProxyError], None],
    ) -> UpstreamResponse:
        """The answer, entered on the stack; `asyncio.TimeoutError` where it takes longer than the outage's patience.

        One that is waited for then is given to `judge_late`.
        """
        own, began = AsyncExitStack(), self._clock()
        coming = asyncio.ensure_future(own.enter_async_context(answer))
        try:
            response = await asyncio.wait_for(asyncio.shield(coming), self._outage.patience)
        except asyncio.TimeoutError:
            if self._waiting is None:
                self._waiting = asyncio.ensure_future(self._wait(coming, own, began, judge_late))
            else:
                await _cancel(coming, own)
            raise
        except asyncio.CancelledError:
            await _cancel(coming, own)
            raise
        stack.push_async_exit(own)
        return response

    async def _wait(
        self,
        coming: asyncio.Future[UpstreamResponse],
        own: AsyncExitStack,
        began: float,
        judge_late: Callable[[UpstreamResponse | PpmProxyError], None],
    ) -> None:
        try:
            response = await coming
            judge_late(response)
            has_answered = response.status < HTTPStatus.INTERNAL_SERVER_ERROR
        except PpmProxyError as error:
            judge_late(error)
            has_answered = not isinstance(error, SILENT)  # a refusal is an answer
        finally:
            self._waiting = None
            await own.aclose()
        if has_answered:
            self._outage.record_slow(self._clock() - began)

    async def close(self) -> None:
        """Wait no longer."""
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.wait({self._waiting})


async def _cancel(coming: asyncio.Future[UpstreamResponse], own: AsyncExitStack) -> None:
    await cancel_until_done(coming)
    await own.aclose()
