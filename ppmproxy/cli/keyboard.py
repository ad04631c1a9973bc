"""Keys as they are pressed, while a command draws on the terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator

GONE = "gone"  # in place of a key: nobody is at the terminal any more
_PAUSE = 0.05  # seconds between two looks at the keyboard of Windows
_MOST = 64  # bytes read at one time

KeyReader = Callable[[float], str]  # waits for so many seconds; the keys pressed by then, "" without one


@contextlib.contextmanager
def keys_pressed() -> Iterator[KeyReader]:
    """A reader of keys that are neither echoed nor held until Enter; Ctrl-C stays what it is.

    Where standard input is no terminal it only waits.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        yield _wait
    elif sys.platform == "win32":
        yield _from_windows
    else:
        with _unbuffered(sys.stdin.fileno()):
            yield _from_terminal


def _wait(seconds: float) -> str:
    time.sleep(seconds)
    return ""


if sys.platform == "win32":

    def _from_windows(seconds: float) -> str:
        import msvcrt  # noqa: PLC0415

        until = time.monotonic() + seconds
        while not msvcrt.kbhit():
            if time.monotonic() >= until:
                return ""
            time.sleep(_PAUSE)
        return msvcrt.getwch()

else:
    import select
    import termios
    import tty

    @contextlib.contextmanager
    def _unbuffered(terminal: int) -> Iterator[None]:
        before = termios.tcgetattr(terminal)
        try:
            tty.setcbreak(terminal)
            settings = termios.tcgetattr(terminal)
            settings[6][termios.VSUSP] = b"\0"  # a shell that comes back would find the screen as it was drawn
            termios.tcsetattr(terminal, termios.TCSANOW, settings)
            yield
        finally:
            with contextlib.suppress(termios.error):  # the terminal is gone
                termios.tcsetattr(terminal, termios.TCSADRAIN, before)

    def _from_terminal(seconds: float) -> str:
        terminal = sys.stdin.fileno()
        if not select.select([terminal], [], [], seconds)[0]:
            return ""
        try:
            return os.read(terminal, _MOST).decode("utf-8", "replace") or GONE
        except OSError:
            return GONE
