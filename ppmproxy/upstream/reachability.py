"""Failures to connect to an origin, known to all requests for it: one of them probes while the others wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import chain, repeat
from typing import TypeVar

from ppmproxy.errors import NoConnectionError

PROBE_DELAYS = (0.25, 0.5, 1.0)  # seconds between attempts to connect; the last one is repeated
IMPATIENT_FOR = 30.0  # seconds after probing in vain, in which a request gets one attempt

T = TypeVar("T")


class Reachability:
    """Whether connections to one origin can be made, as far as its latest requests show."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._failure: NoConnectionError | None = None  # the last one, until a connection is made
        self._impatient_until = float("-inf")
        self._prober: asyncio.Task[object] | None = None
        self._changed = asyncio.Event()

    def record_connection(self) -> None:
        """A connection was made: requests that wait go on, and later ones are patient again."""
        self._failure, self._prober = None, None
        self._impatient_until = float("-inf")
        self._changed.set()

    async def send(self, attempt: Callable[[], Awaitable[T]], deadline: float) -> T:
        """The result of `attempt`, repeated until a connection is made or the deadline is over.

        Raises `NoConnectionError` then, and every other error of `attempt` at once.
        """
        is_patient = self._impatient_until <= self._clock() < deadline
        while is_patient:
            await self._wait_for_prober(deadline)
            if self._failure is not None:
                return await self._probe(attempt, deadline)
            try:
                return await self._attempt(attempt)
            except NoConnectionError:
                if self._clock() >= deadline:
                    raise
        return await self._attempt(attempt)

    async def _attempt(self, attempt: Callable[[], Awaitable[T]]) -> T:
        try:
            result = await attempt()
        except NoConnectionError as error:
            self._failure = error
            raise
        if self._failure is not None:  # an idle connection was still good
            self.record_connection()
        return result

    async def _probe(self, attempt: Callable[[], Awaitable[T]], deadline: float) -> T:
        prober = self._prober = asyncio.current_task()
        try:
            for delay in chain(PROBE_DELAYS, repeat(PROBE_DELAYS[-1])):
                await self._sleep(max(0.0, min(delay, deadline - self._clock())))
                with suppress(NoConnectionError):
                    return await self._attempt(attempt)
                if self._clock() >= deadline:
                    break
            self._impatient_until = self._clock() + IMPATIENT_FOR
            raise self._last_failure()
        finally:
            if self._prober is prober:
                self._prober = None
                self._changed.set()

    async def _wait_for_prober(self, deadline: float) -> None:
        while self._failure is not None and self._prober is not None:
            left = deadline - self._clock()
            if left <= 0:
                raise self._last_failure()
            self._changed.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)

    def _last_failure(self) -> NoConnectionError:
        """The same error for one more request: a shared instance would collect the tracebacks of all."""
        assert self._failure is not None  # noqa: S101 - only called while connections fail
        return NoConnectionError(str(self._failure), self._failure.hint)
