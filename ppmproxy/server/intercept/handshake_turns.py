"""Turns for TLS handshakes: a few at a time, in the order in which they came.

uv opens 30 tunnels at once. With all handshakes under way together, all would end at about the same time, and no
request would be on its way to the upstream until then.
"""

from __future__ import annotations

import asyncio

AT_ONCE = 8  # handshakes
LONGEST = 0.02  # seconds; a handshake takes 2 ms, and a client that does not go on with its own must not hold up others


class HandshakeTurns:
    """Hands out turns; a turn ends by itself after `LONGEST`."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._free = asyncio.Semaphore(at_once)

    async def next(self) -> Turn:
        """Wait for a turn, which is to be ended."""
        await self._free.acquire()
        return Turn(self._free)


class Turn:
    """One turn."""

    __slots__ = ("_free", "_timer")

    def __init__(self, free: asyncio.Semaphore) -> None:
        self._free: asyncio.Semaphore | None = free
        self._timer = asyncio.get_running_loop().call_later(LONGEST, self.end)

    def end(self) -> None:
        """Let the next one go on; without effect the second time."""
        free, self._free = self._free, None
        self._timer.cancel()
        if free is not None:
            free.release()
