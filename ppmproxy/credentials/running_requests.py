"""Running requests: work that outlives the client connection for which it began, until the client returns.

Clients have little patience (pip gives up after 15 s, uv after 30), but follow a redirect to the same URL silently. A
request that takes longer is redirected, and joins its own work when it is back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar, cast

from ppmproxy.credentials.lookup import LookupResult
from ppmproxy.errors import CredentialError
from ppmproxy.upstream.cancellation import cancel_until_done

RETURN_WINDOW = 5.0  # seconds in which a client follows a redirect

T = TypeVar("T")
Work = Callable[["RunningRequest[T]"], AbstractAsyncContextManager[T]]


class RunningRequest(Generic[T]):
    """The work for one request, in a task of its own; its result lasts until `close`."""

    def __init__(self, work: Work[T], now: float) -> None:
        self.started_at = now  # on the event loop's clock
        self.redirects = 0  # of the client that waits for it
        self.lookup: LookupResult | None = None  # the credential in use; None while it is being looked up
        self.sign_in_error: CredentialError | None = None  # while it waits for a sign-in
        self.waits_for_slot = False  # for the end of another download
        self.attended = asyncio.Event()  # set while a client waits for it
        self.attended.set()
        self._released: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_done = False  # whether there is a result, or an error
        self._result: T | None = None
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._task = asyncio.create_task(self._run(work))

    def __repr__(self) -> str:
        return f"RunningRequest(redirects={self.redirects}, done={self.is_done})"

    async def _run(self, work: Work[T]) -> None:
        try:
            async with work(self) as result:
                self._result = result
                self._end()
                await self._released
        except BaseException as error:
            is_late = self.is_done
            if not is_late:
                self._error = error
                self._end()
            if is_late or not isinstance(error, Exception):
                raise

    def _end(self) -> None:
        self.is_done = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def is_waiting_for_upstream(self) -> bool:
        """Whether there is no result because the upstream has not answered."""
        return not (self.is_done or self.lookup is None or self.sign_in_error or self.waits_for_slot)

    @property
    def source(self) -> str:
        """The source of the credential in use; "" without one."""
        return self.lookup.credential.source if self.lookup and self.lookup.credential else ""

    def is_for(self, lookup: LookupResult) -> bool:
        """Whether it may be joined by a request with this credential: one of the same identity."""
        return self._error is not None or self.lookup is None or self.lookup.identity == lookup.identity

    async def wait(self, timeout: float | None) -> bool:
        """Wait for the result so many seconds; whether it is there."""
        if not self.is_done:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()  # one, woken by the result itself: `asyncio.wait` takes a turn more
            timer = loop.call_later(timeout, self._wake) if timeout is not None else None
            try:
                await self._waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        return self.is_done

    def result(self) -> T:
        """The result, or the error of the work."""
        if self._error is not None:
            raise self._error
        return cast("T", self._result)

    async def close(self) -> None:
        """End the work: the client has its response, or has left. A task without a result is cancelled and awaited."""
        self._release()
        await cancel_until_done(self._task, lambda: self.is_done)

    def _release(self) -> None:
        if not self._released.done():
            self._released.set_result(None)

    def cancel(self) -> None:
        """Abandon the work, without waiting for its end."""
        self._release()  # where the cancellation is lost, as in `close`, the work ends with its result
        self._task.cancel()


class RunningRequests(Generic[T]):
    """The requests whose clients were redirected, by a key: what makes two requests the same."""

    def __init__(self) -> None:
        self.return_window = RETURN_WINDOW
        self._parked: dict[Hashable, deque[RunningRequest[T]]] = {}  # the one that was parked first in front
        self._expiries: dict[RunningRequest[T], tuple[Hashable, asyncio.TimerHandle]] = {}

    def __len__(self) -> int:
        return len(self._expiries)

    def start(self, work: Work[T]) -> RunningRequest[T]:
        """Begin the work of a request."""
        return RunningRequest(work, asyncio.get_running_loop().time())

    def join(self, key: Hashable) -> RunningRequest[T] | None:
        """The running request of a client that returns; None when it is new.

        A request has no identifier, so the one that returns is taken for the one that was redirected first with the
        same key. Two clients with the same key may be confused, which does no harm.
        """
        parked = self._parked.get(key)
        if not parked:
            return None
        running = parked[0]
        self._remove(running)
        running.attended.set()
        return running

    def park(self, key: Hashable, running: RunningRequest[T], abandoned: Callable[[], None]) -> None:
        """The client is redirected: let the work go on for `return_window`; `abandoned` is called at its end."""
        running.redirects += 1
        running.attended.clear()
        self._parked.setdefault(key, deque()).append(running)
        loop = asyncio.get_running_loop()
        expiry = loop.call_later(self.return_window, self._expire, running, abandoned)
        self._expiries[running] = key, expiry

    def _expire(self, running: RunningRequest[T], abandoned: Callable[[], None]) -> None:
        self._remove(running)
        abandoned()
        running.cancel()

    def _remove(self, running: RunningRequest[T]) -> None:
        key, expiry = self._expiries.pop(running)
        expiry.cancel()
        parked = self._parked[key]
        parked.remove(running)
        if not parked:
            del self._parked[key]

    async def close(self) -> None:
        """Abandon them all."""
        while self._expiries:  # which others leave meanwhile, as their time is over
            running = next(iter(self._expiries))
            self._remove(running)
            await running.close()
