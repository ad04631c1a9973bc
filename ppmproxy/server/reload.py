"""How new settings take over in a running daemon: new requests go the new way, older ones finish on the old.

To change what a reload leaves to a restart, or when what it replaces is closed, open this file.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

from ppmproxy.config.model import Settings

UNTIL_RESTART = ("listen", "access", "drain_timeout", "exit_when_idle")  # fields of the settings


class InFlight:
    """Counts the requests under way on what one reading of the settings has made."""

    def __init__(self) -> None:
        self._served = 0
        self._is_over = asyncio.Event()

    def __repr__(self) -> str:
        return f"Tenure(serving {self._served})"

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """While one request is under way."""
        self._served += 1
        try:
            yield
        finally:
            self._served -= 1
            if not self._served:
                self._is_over.set()

    async def end(self) -> None:
        """Come back when nobody is served any more; to be called once no new request comes."""
        while self._served:
            self._is_over.clear()
            await self._is_over.wait()


class Draining:
    """What was replaced and is still in use; each is closed when its last request has ended, or when all are."""

    def __init__(self) -> None:
        self._leaving: dict[asyncio.Task[None], Callable[[], Awaitable[None]]] = {}

    def __len__(self) -> int:
        return len(self._leaving)

    def add(self, in_flight_requests: InFlight, close: Callable[[], Awaitable[None]]) -> None:
        """Close something once nobody is served by it any more."""

        async def leave() -> None:
            await in_flight_requests.end()
            await close()

        task = asyncio.create_task(leave())
        self._leaving[task] = close
        task.add_done_callback(lambda done: self._leaving.pop(done, None))

    async def close(self) -> None:
        """Close all that is left, at once."""
        for task, close in list(self._leaving.items()):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await close()


def merge_reloadable(old: Settings, new: Settings) -> tuple[Settings, tuple[str, ...]]:
    """The new settings as far as a running daemon can take them, and the names of those that wait for a restart."""
    waiting = tuple(name for name in UNTIL_RESTART if getattr(old, name) != getattr(new, name))
    return replace(new, **{name: getattr(old, name) for name in UNTIL_RESTART}), waiting
