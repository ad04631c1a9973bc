"""The log of refused users: what another user sends must not fill the log of this one.

The first refused request of a user in a minute is logged as any other; the rest of that minute is one line with their
number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

WINDOW = 60.0  # seconds


@dataclass(slots=True)
class RefusalLog:
    """Logs refused requests by user; `close` logs the numbers that are still open."""

    log: structlog.typing.FilteringBoundLogger
    _suppressed: dict[int | None, int] = field(default_factory=dict, init=False)  # by uid, None where it is unknown
    _timers: dict[int | None, asyncio.TimerHandle] = field(default_factory=dict, init=False)

    def record(self, uid: int | None, log_request: Callable[[], None]) -> None:
        """A request of this user was refused."""
        if uid in self._suppressed:
            self._suppressed[uid] += 1
            return
        self._suppressed[uid] = 0
        self._timers[uid] = asyncio.get_running_loop().call_later(WINDOW, self._end, uid)
        log_request()

    def close(self) -> None:
        """End every minute now."""
        for uid in list(self._suppressed):
            self._end(uid)

    def _end(self, uid: int | None) -> None:
        self._timers.pop(uid).cancel()
        if count := self._suppressed.pop(uid):
            self.log.warning("requests_refused", uid=uid, count=count, seconds=WINDOW)
