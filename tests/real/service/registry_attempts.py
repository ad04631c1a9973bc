"""Attempts of a program that asks the package registry, which may fail once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from downloads import PAUSES


class Ended(Protocol):
    """How a program ended."""

    @property
    def code(self) -> int: ...


HowItEnded = TypeVar("HowItEnded", bound=Ended)


def when_it_succeeds(attempt: Callable[[], HowItEnded]) -> HowItEnded:
    """The first attempt with exit code 0, or the last one."""
    for pause in PAUSES:
        ended = attempt()
        if ended.code == 0:
            return ended
        time.sleep(pause)
    return attempt()
