"""The pause of a store that failed: nothing waits for it until it was found to be well again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

FIRST = 15.0  # seconds
LONGEST = 300.0


@dataclass(slots=True)
class Pause:
    """Begun by a failure, longer after each look that fails; ended by a success."""

    clock: Callable[[], float]
    why: str = ""
    hint: str = ""
    _length: float = 0.0
    _until: float = 0.0

    @property
    def is_on(self) -> bool:
        """Whether the store failed and was not found to be well since."""
        return bool(self.why)

    @property
    def is_due(self) -> bool:
        """Whether it is time to look at it again."""
        return self.is_on and self.clock() >= self._until

    def begin(self, why: str, hint: str) -> bool:
        """The store has failed; whether it was well before. Requests that fail together begin one pause."""
        was_well = not self.is_on
        if was_well or self.is_due:
            self._length = min(self._length * 2 or FIRST, LONGEST)
            self._until = self.clock() + self._length
        self.why, self.hint = why, hint
        return was_well

    def end(self) -> bool:
        """The store is well; whether it was not before."""
        was_on = self.is_on
        self.why, self.hint, self._length = "", "", 0.0
        return was_on
