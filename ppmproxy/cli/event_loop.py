"""The event loop of a command, with an executor that starts one thread per call and joins none of them.

Calls that may block for long run in threads: a DNS query, a file on a network share. asyncio's own pool has few
threads, which such calls can use up, and the loop's end waits for all of them.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from types import FrameType
from typing import Any, TypeVar

MOST_THREADS = 100  # at a time
CANCEL_INTERVAL = 1.0  # seconds

_T = TypeVar("_T")


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine, as `asyncio.run` does, without waiting for blocked threads at the end.

    The first SIGINT or SIGTERM cancels the coroutine, and what the signal's handler raises is raised after its end.
    Raised in the middle of a task, as Python would, asyncio reports it as an unhandled exception.
    """

    async def with_own_threads() -> _T:
        asyncio.get_running_loop().set_default_executor(Threads())
        signals.cancel(asyncio.current_task())
        try:
            return await main
        finally:
            signals.take_back()

    with _CancellingSignals() as signals:
        return asyncio.run(with_own_threads())


class _CancellingSignals:
    """SIGINT and SIGTERM cancel one task; in the end the first one is handled as it would have been before.

    Without effect in threads, which receive no signals.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}  # those before
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._received: int | None = None

    def __enter__(self) -> _CancellingSignals:  # noqa: PYI034 - `Self` came with Python 3.11
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
            self._listen()
        return self

    def cancel(self, task: asyncio.Task[Any] | None) -> None:
        """Cancel this task of the running loop at the first signal; the second one is handled as before."""
        self._loop, self._task = asyncio.get_running_loop(), task
        if self._received is not None:
            self._cancel()

    def take_back(self) -> None:
        """Handle signals without the loop, which closes its end of the wakeup socket before it forgets its handlers."""
        if self._handlers:
            signal.set_wakeup_fd(-1)
            self._listen()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._handlers.items():
            if handler is not None:  # which no Python installed
                signal.signal(number, handler)
        if self._received is not None and kind in (None, asyncio.CancelledError):
            self._handlers[self._received](self._received, None)

    def _listen(self) -> None:
        for number, handler in self._handlers.items():
            if callable(handler):  # an ignored signal stays ignored
                signal.signal(number, self._on_signal)
            elif handler is not None:
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None:
            self._handlers[number](number, frame)
        self._received = number
        self._cancel()

    def _cancel(self) -> None:
        if self._loop is not None and self._task is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_cancel_until_ended, self._task)  # between two callbacks, and wakes it


def _cancel_until_ended(task: asyncio.Task[Any]) -> None:
    """Cancel a task, again where that is lost: before Python 3.12, `asyncio.wait_for` may swallow one."""
    if not task.done():
        task.cancel()
        task.get_loop().call_later(CANCEL_INTERVAL, _cancel_until_ended, task)


class Threads(ThreadPoolExecutor):
    """An executor with one thread per call; a call above the limit fails with `OSError`.

    asyncio accepts no other type as its default executor.
    """

    def __init__(self, most: int = MOST_THREADS) -> None:
        super().__init__(max_workers=1)  # none of which is ever started
        self._free = threading.Semaphore(most)

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        """Run the call in a new thread."""
        future: Future[_T] = Future()
        future.set_running_or_notify_cancel()
        if not self._free.acquire(blocking=False):
            future.set_exception(OSError("too much is blocked already"))
            return future
        try:
            threading.Thread(target=self._work, args=(future, lambda: fn(*args, **kwargs)), daemon=True).start()
        except RuntimeError as error:  # the limit of a container
            self._free.release()
            future.set_exception(OSError(str(error)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Return at once."""

    def _work(self, future: Future[_T], work: Callable[[], _T]) -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - set on the future
            future.set_exception(error)
        else:
            future.set_result(result)
        finally:
            self._free.release()
