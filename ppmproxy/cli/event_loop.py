"""The event loop of a command, whose end waits for no thread.

To change what runs in threads beside the loop, or what becomes of it at the end, open this file.

What may block for long goes to a thread: a question to name servers that do not answer, a file on a share that is gone.
asyncio's own pool has a handful of threads, which such work can use up, and its end waits until all of it is done. Here
each piece of work has a thread of its own, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

MOST_THREADS = 100  # at a time; what comes on top fails at once

_T = TypeVar("_T")


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine to its end, as `asyncio.run` does, and leave behind what is blocked in a thread."""

    async def with_own_threads() -> _T:
        asyncio.get_running_loop().set_default_executor(Threads())
        return await main

    return asyncio.run(with_own_threads())


class Threads(ThreadPoolExecutor):
    """A thread for each piece of work; `OSError` for the work that is one too many.

    asyncio takes no other kind of executor as its default.
    """

    def __init__(self, most: int = MOST_THREADS) -> None:
        super().__init__(max_workers=1)  # of which none is ever started
        self._free = threading.Semaphore(most)

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        """Begin the work at once."""
        future: Future[_T] = Future()
        future.set_running_or_notify_cancel()
        if not self._free.acquire(blocking=False):
            future.set_exception(OSError("too much is blocked already"))
            return future
        try:
            threading.Thread(target=self._work, args=(future, lambda: fn(*args, **kwargs)), daemon=True).start()
        except RuntimeError as error:  # where the number of threads is limited, as in a container
            self._free.release()
            future.set_exception(OSError(str(error)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Wait for nothing."""

    def _work(self, future: Future[_T], work: Callable[[], _T]) -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - handed over to whoever waits for it
            future.set_exception(error)
        else:
            future.set_result(result)
        finally:
            self._free.release()
