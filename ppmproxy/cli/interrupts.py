"""Ctrl-C: it ends the process, and raises `KeyboardInterrupt` only while a command runs.

Python's own handler raises it at any moment: in an import and after the end of a command, too, where it becomes a
traceback. The exit code is the one that shells give it.
"""

from __future__ import annotations

import os
import signal
import time

TYPE_CHECKING = False  # `typing` takes longer to import than all else here
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn


CLEAN_UP = 0.5  # seconds for what the first one ends; a key that is held, or a wrapper, sends it more than once


def end_at_once() -> None:
    """Have Ctrl-C end the process from now on, unless it is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


class Raised:
    """While this lasts, Ctrl-C raises `KeyboardInterrupt`, and a later one ends the process.

    Where `end_at_once` was called before.
    """

    def __enter__(self) -> None:
        self._before = signal.getsignal(signal.SIGINT)
        if self._before is _end:
            signal.signal(signal.SIGINT, _raise)

    def __exit__(self, *_: object) -> None:
        if self._before is _end:
            signal.signal(signal.SIGINT, _end)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    os._exit(128 + number)


def _raise(_number: int, _frame: FrameType | None) -> NoReturn:
    raised_at = time.monotonic()

    def end_unless_soon(number: int, frame: FrameType | None) -> None:
        if time.monotonic() - raised_at >= CLEAN_UP:
            _end(number, frame)

    signal.signal(signal.SIGINT, end_unless_soon)
    raise KeyboardInterrupt
