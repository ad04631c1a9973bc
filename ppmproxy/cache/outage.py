"""Memory of an outage: an upstream that has just not answered is not waited for again at once."""

from __future__ import annotations

from collections.abc import Callable

REMEMBERED = 10.0  # seconds
FIRST_TRY = 2.0  # seconds that decide where something usable is here


class OutageMemory:
    """Why an upstream did not answer a moment ago."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until = float("-inf")
        self._why = ""

    @property
    def why(self) -> str:
        """Why it did not answer; "" where that is not so, or longer ago."""
        return self._why if self._clock() < self._until else ""

    def record(self, why: str) -> None:
        """It has not answered."""
        self._until, self._why = self._clock() + REMEMBERED, why

    def end(self) -> None:
        """It has answered."""
        self._until = float("-inf")
