"""Reloading the settings of a running daemon: new requests use the new ones, older requests finish on the old."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace

from ppmproxy.config.model import Settings

UNTIL_RESTART = (
    "listen",
    "access",
    "drain_timeout",
    "exit_when_idle",
    "cache_dir",
    "cache_max_size",
    "cache_url",
    "cache_url_mode",
    "cache_url_timeout",
)  # fields of the settings


class InFlight:
    """Counts the requests under way on the services of one reading of the settings: ``with in_flight:`` is one."""

    def __init__(self) -> None:
        self._count = 0
        self._is_idle = asyncio.Event()

    def __repr__(self) -> str:
        return f"InFlight({self._count})"

    def __enter__(self) -> None:
        self._count += 1

    def __exit__(self, *_: object) -> None:
        self._count -= 1
        if not self._count:
            self._is_idle.set()

    async def wait_idle(self) -> None:
        """Return when no request is under way any more; call it only when no new request can begin."""
        while self._count:
            self._is_idle.clear()
            await self._is_idle.wait()


class Draining:
    """Replaced services that are still in use; each is closed when its last request has ended, or by `close`."""

    def __init__(self) -> None:
        self._closing: dict[asyncio.Task[None], Callable[[], Awaitable[None]]] = {}

    def __len__(self) -> int:
        return len(self._closing)

    def add(self, in_flight: InFlight, close: Callable[[], Awaitable[None]]) -> None:
        """Close something once its last request has ended."""

        async def drain() -> None:
            await in_flight.wait_idle()
            await close()

        task = asyncio.create_task(drain())
        self._closing[task] = close
        task.add_done_callback(lambda done: self._closing.pop(done, None))

    async def close(self) -> None:
        """Close all that is left, at once."""
        for task, close in list(self._closing.items()):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await close()


def merge_reloadable(old: Settings, new: Settings) -> tuple[Settings, tuple[str, ...]]:
    """The new settings as far as a running daemon can take them, and the names of those that wait for a restart."""
    waiting = tuple(name for name in UNTIL_RESTART if getattr(old, name) != getattr(new, name))
    return replace(new, **{name: getattr(old, name) for name in UNTIL_RESTART}), waiting
