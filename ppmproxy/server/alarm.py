"""The time limit for what a connection waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """One time limit at a time, on the running event loop.

    A timer that was made for one limit stays for the next ones, until `close`: each request would need several.
    """

    __slots__ = ("_deadline", "_late", "_timer")

    def __init__(self) -> None:
        self._late: Callable[[], object] | None = None  # what to call at the deadline
        self._deadline = 0.0  # on the event loop's clock
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_set(self) -> bool:
        return self._late is not None

    def set(self, seconds: float, late: Callable[[], object]) -> None:
        """Have `late` called after that time; without effect while another limit runs."""
        if self._late is not None:
            return
        self._late, self._deadline = late, asyncio.get_running_loop().time() + seconds
        if self._timer is not None and self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._start_timer()

    def cancel(self) -> None:
        """What was waited for has come."""
        self._late = None

    def close(self) -> None:
        """Cancel the limit and the timer: the connection has ended."""
        self.cancel()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start_timer(self) -> None:
        self._timer = asyncio.get_running_loop().call_at(self._deadline, self._timer_ended)

    def _timer_ended(self) -> None:
        ended, self._timer = self._timer, None
        if self._late is None:
            return
        if ended is not None and ended.when() < self._deadline:
            self._start_timer()
            return
        late, self._late = self._late, None
        late()
