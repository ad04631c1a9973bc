"""What a service manager hears of a running daemon: its state in one line, and that its event loop turns.

To change how often it is told, or what counts as a sign of life, open this file.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import structlog

from ppmproxy.server.sd_notify import Systemd

BEATS = 4  # within the time in which one is expected
LATEST_SHARE = 0.25  # of that time; a loop that comes round so late serves nobody
LOOK_EVERY = 10.0  # seconds between two looks at the state when no request comes: tokens expire all the same


class Heartbeat:
    """Tells systemd how a daemon is, for as long as `beating` lasts."""

    def __init__(self, systemd: Systemd, state: Callable[[], str]) -> None:
        self._systemd = systemd
        self._state = state
        self._changed = asyncio.Event()
        self._told = ""

    def look(self) -> None:
        """Something may have changed."""
        self._changed.set()

    def tell(self) -> None:
        """Say how things are, unless it was said already."""
        state = self._state()
        if state != self._told:
            self._systemd.status(state)
            self._told = state

    @contextlib.asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Tell now, whenever something changes, and as often as is expected."""
        tasks = [asyncio.create_task(self._tell_changes())] if self._systemd.notify_socket else []
        if self._systemd.watchdog:
            tasks.append(asyncio.create_task(self._feed(self._systemd.watchdog)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _tell_changes(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self.tell()
            alarm = loop.call_later(LOOK_EVERY, self._changed.set)
            await self._changed.wait()
            alarm.cancel()
            self._changed.clear()

    async def _feed(self, expected: float) -> None:
        """Give signs of life while the loop comes round in time.

        One late round is forgiven, because the next one is in time. A loop that is late every time is as good as
        blocked, and is restarted like one.
        """
        clock = asyncio.get_running_loop().time
        self._systemd.alive()
        while True:
            due = clock() + expected / BEATS
            await asyncio.sleep(due - clock())
            late = clock() - due
            if late <= expected * LATEST_SHARE:
                self._systemd.alive()
            else:
                structlog.get_logger("ppmproxy").warning("event_loop_late", seconds=round(late, 1))
