"""The end of a task that waits for an upstream, before it has what it waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

CANCEL_INTERVAL = 1.0  # seconds, in which a task may clean up


async def cancel_until_done(task: asyncio.Future[Any], is_enough: Callable[[], bool] = lambda: False) -> None:
    """Cancel a task, again where that is lost: before Python 3.12, `asyncio.wait_for` may swallow one.

    It is waited for until it is done, or until it `is_enough`.

    An error with which it ends all the same is marked as retrieved; asyncio would log it.
    """
    while not (task.done() or is_enough()):
        task.cancel()
        await asyncio.wait([task], timeout=CANCEL_INTERVAL)
    if task.done() and not task.cancelled():
        task.exception()
