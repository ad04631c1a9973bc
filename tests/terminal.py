"""A terminal for commands under test: a pseudo-terminal, with a real emulator that knows what is on its screen."""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pyte
import pytest
from proxy_client import DEADLINE

fcntl = pytest.importorskip("fcntl", reason="terminals as POSIX systems have them")
termios = pytest.importorskip("termios", reason="terminals as POSIX systems have them")

# Run by a Python between the test and the command, because Python 3.12 warns of code after a fork beside threads.
IN_FOREGROUND = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)
SECOND_SCREEN, FIRST_SCREEN = "\x1b[?1049h", "\x1b[?1049l"  # of xterm: to the one that is drawn on, and back


class Terminal:
    """A command at a terminal of its own, and what can be seen there."""

    def __init__(
        self, ours: int, process: asyncio.subprocess.Process, columns: int, rows: int, before: list[object]
    ) -> None:
        self.process = process
        self.settings_before = before
        self.said = ""
        self._ours = ours
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.Stream(self._screen)

    @property
    def lines(self) -> list[str]:
        """The lines of the screen."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def settings(self) -> list[object]:
        """The settings of the terminal, as termios(3) has them."""
        return termios.tcgetattr(self._ours)

    async def shows(self, words: str) -> list[str]:
        """The lines of the screen as soon as one has these words."""
        return await self.shows_that(lambda lines: any(words in line for line in lines), words)

    async def shows_that(self, is_true: Callable[[list[str]], bool], what: str = "it") -> list[str]:
        """The lines of the screen as soon as they are as wanted."""
        try:
            await asyncio.wait_for(self._until(is_true, what), DEADLINE)
        except asyncio.TimeoutError:
            raise AssertionError(f"{what} is not shown:\n" + "\n".join(self.lines)) from None
        return self.lines

    async def _until(self, is_true: Callable[[list[str]], bool], what: str) -> None:
        while not is_true(self.lines):
            assert await self._read(), f"it ended without showing {what}:\n" + "\n".join(self.lines)

    def resize(self, columns: int, rows: int) -> None:
        """The person changes the size of the window."""
        self._screen.resize(rows, columns)
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    async def ended(self) -> int:
        """The exit code; everything that was said is read."""
        while await asyncio.wait_for(self._read(), DEADLINE):
            pass
        return await asyncio.wait_for(self.process.wait(), DEADLINE)

    async def _read(self) -> bool:
        """Take in what was said; False when nobody is at the terminal any more."""
        try:
            piece = await asyncio.get_running_loop().run_in_executor(None, os.read, self._ours, 65536)
        except OSError:  # how Linux says that the other side has closed the terminal
            return False
        text = piece.decode("utf-8", "replace")
        self.said += text
        self._stream.feed(text)
        return bool(piece)


@contextlib.asynccontextmanager
async def at_terminal(
    command: list[str | Path], environ: Mapping[str, str], folder: Path, columns: int = 100, rows: int = 30
) -> AsyncIterator[Terminal]:
    """A command in the foreground of a terminal; it does not outlive its test."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    before = termios.tcgetattr(theirs)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", IN_FOREGROUND, *command),
        env={"TERM": "xterm-256color", "LANG": "C.UTF-8", **environ},
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(ours, process, columns, rows, before)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        os.close(ours)
