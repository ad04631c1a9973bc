"""What was found of a daemon in the last minute, asked in the background: one that hangs must not hold up the keys."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Event, Thread

from ppmproxy.access.discovery import DaemonInfo

INTERVAL = 1.0  # seconds between two questions
KEPT = 61  # answers

AskDaemon = Callable[[], Sequence[DaemonInfo]]  # who listens at each address; takes seconds when nobody answers


@dataclass(frozen=True, slots=True)
class Observation:
    """What was found at one time, by a monotonic clock."""

    at: float
    found: Sequence[DaemonInfo]  # the first is the one that commands ask


@dataclass(slots=True)
class StatusHistory:
    """The latest observations."""

    ask: AskDaemon
    _seen: deque[Observation] = field(default_factory=lambda: deque(maxlen=KEPT))
    _is_over: Event = field(default_factory=Event)

    @property
    def seen(self) -> Sequence[Observation]:
        """The observations, the last one at the end."""
        return tuple(self._seen)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Ask again and again."""
        Thread(target=self._observe, daemon=True).start()
        try:
            yield
        finally:
            self._is_over.set()

    def _observe(self) -> None:
        while not self._is_over.is_set():
            found = self.ask()
            self._seen.append(Observation(time.monotonic(), found))
            self._is_over.wait(INTERVAL)
