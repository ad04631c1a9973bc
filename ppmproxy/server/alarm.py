"""The time limit for what a connection waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """One time limit at a time, on the running event loop."""

    __slots__ = ("_handle",)

    def __init__(self) -> None:
        self._handle: asyncio.TimerHandle | None = None

    @property
    def is_set(self) -> bool:
        return self._handle is not None

    def set(self, seconds: float, late: Callable[[], object]) -> None:
        """Have `late` called after that time; without effect while another limit runs."""
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(seconds, self._end, late)

    def cancel(self) -> None:
        """What was waited for has come."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _end(self, late: Callable[[], object]) -> None:
        self._handle = None
        late()
