"""Failures to connect to an origin, known to all requests for it: one of them probes while the others wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import chain, repeat
from typing import TypeVar

from ppmproxy.errors import NoConnectionError, ProxyRefusalError, UpstreamError

PROBE_DELAYS = (0.25, 0.5, 1.0)  # seconds between attempts to connect; the last one is repeated
IMPATIENT_FOR = 30.0  # seconds after probing in vain, in which a request gets one attempt
REFUSED_FOR = 10.0  # seconds for which a forward proxy's refusal is not asked for again

T = TypeVar("T")
Attempt = Callable[[], Awaitable[T]]


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
        self._refusal: ProxyRefusalError | None = None  # the last one, until a connection is made
        self._refused_until = float("-inf")
        self._is_connected = False  # since the last failure or refusal
        self._prober: asyncio.Task[object] | None = None
        self._changed: asyncio.Future[None] | None = None  # of those that wait; a new one after each change

    def record_connection(self) -> None:
        """A connection was made: requests that wait go on, and later ones are patient again."""
        self._failure, self._refusal, self._prober = None, None, None
        self._impatient_until = self._refused_until = float("-inf")
        self._is_connected = True
        self._notify()

    async def send(self, attempt: Attempt[T], deadline: float, *, is_proxied: bool = False) -> T:
        """The result of `attempt`, repeated until a connection is made or the deadline is over.

        Raises `NoConnectionError` then, and every other error of `attempt` at once. Behind a forward proxy the first
        connection is made alone: many at once with a wrong password would lock an account.
        """
        if self._is_connected:
            try:
                return await self._attempt(attempt)
            except NoConnectionError:
                if self._clock() >= deadline:
                    raise
        while is_proxied and not self._is_connected and self._failure is None:
            self._raise_refusal()
            if self._prober is None:
                return await self._alone(self._patiently(attempt, deadline))
            await self._next_change()
        return await self._patiently(attempt, deadline)

    async def _patiently(self, attempt: Attempt[T], deadline: float) -> T:
        is_patient = self._impatient_until <= self._clock() < deadline
        while is_patient:
            await self._wait_for_prober(deadline)
            if self._failure is not None:
                return await self._alone(self._probe(attempt, deadline))
            try:
                return await self._attempt(attempt)
            except NoConnectionError:
                if self._clock() >= deadline:
                    raise
        return await self._attempt(attempt)

    async def _attempt(self, attempt: Attempt[T]) -> T:
        self._raise_refusal()
        try:
            result = await attempt()
        except NoConnectionError as error:
            self._failure, self._is_connected = error, False
            raise
        except ProxyRefusalError as error:
            self._refusal, self._is_connected = error, False
            self._refused_until = self._clock() + REFUSED_FOR
            raise
        if not self._is_connected:  # over an idle connection that was still good
            self.record_connection()
        return result

    async def _probe(self, attempt: Attempt[T], deadline: float) -> T:
        for delay in chain(PROBE_DELAYS, repeat(PROBE_DELAYS[-1])):
            await self._sleep(max(0.0, min(delay, deadline - self._clock())))
            with suppress(NoConnectionError):
                return await self._attempt(attempt)
            if self._clock() >= deadline:
                break
        self._impatient_until = self._clock() + IMPATIENT_FOR
        raise self._last_failure()

    async def _alone(self, probe: Awaitable[T]) -> T:
        """The result of a probe, during which other requests wait until a connection is made."""
        prober = self._prober = asyncio.current_task()
        try:
            return await probe
        finally:
            if self._prober is prober:
                self._prober = None
                self._notify()

    async def _wait_for_prober(self, deadline: float) -> None:
        while self._failure is not None and self._prober not in {None, asyncio.current_task()}:
            left = deadline - self._clock()
            if left <= 0:
                raise self._last_failure()
            await self._next_change(left)

    async def _next_change(self, seconds: float | None = None) -> None:
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._changed], timeout=seconds)

    def _notify(self) -> None:
        if self._changed is not None:
            self._changed.set_result(None)
            self._changed = None

    def _raise_refusal(self) -> None:
        if self._refusal is not None and self._clock() < self._refused_until:
            raise _copy(self._refusal)

    def _last_failure(self) -> NoConnectionError:
        assert self._failure is not None  # noqa: S101 - only called while connections fail
        return _copy(self._failure)


E = TypeVar("E", bound=UpstreamError)


def _copy(error: E) -> E:
    """The same error for one more request: a shared instance would collect the tracebacks of all."""
    return type(error)(str(error), error.hint)
