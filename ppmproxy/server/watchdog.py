"""Status and watchdog notifications to systemd while the daemon runs (sd_notify(3), sd_watchdog_enabled(3))."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import structlog

from ppmproxy.server.sd_notify import Systemd

BEATS = 4  # notifications within the time in which one is expected
MAX_LATENESS = 0.25  # of that time; an event loop that is later serves no client in time
CHECK_INTERVAL = 10.0  # seconds between two checks of the status line when no request comes: tokens expire all the same


class Watchdog:
    """Notifies systemd of the daemon's status and health, for as long as `running` lasts."""

    def __init__(self, systemd: Systemd, status_line: Callable[[], str]) -> None:
        self._systemd = systemd
        self._status_line = status_line
        self._changed = asyncio.Event()
        self._last_sent = ""

    def poke(self) -> None:
        """The status may have changed: check it soon."""
        self._changed.set()

    def send_status(self) -> None:
        """Send the status line, unless it was sent already."""
        line = self._status_line()
        if line != self._last_sent:
            self._systemd.status(line)
            self._last_sent = line

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Notify now, whenever the status changes, and as often as the watchdog expects."""
        tasks = [asyncio.create_task(self._send_changes())] if self._systemd.notify_socket else []
        if self._systemd.watchdog:
            tasks.append(asyncio.create_task(self._feed(self._systemd.watchdog)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send_changes(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self.send_status()
            alarm = loop.call_later(CHECK_INTERVAL, self._changed.set)
            await self._changed.wait()
            alarm.cancel()
            self._changed.clear()

    async def _feed(self, expected: float) -> None:
        """Notify the watchdog while the event loop is in time.

        One late turn is forgiven, because the next one is in time. A loop that is late every time is as good as
        blocked, and is restarted like one.
        """
        clock = asyncio.get_running_loop().time
        self._systemd.alive()
        while True:
            due = clock() + expected / BEATS
            await asyncio.sleep(due - clock())
            late = clock() - due
            if late <= expected * MAX_LATENESS:
                self._systemd.alive()
            else:
                structlog.get_logger("ppmproxy").warning("event_loop_late", seconds=round(late, 1))
