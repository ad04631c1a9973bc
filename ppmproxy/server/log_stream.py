"""Writing the log in a thread of its own: a reader that stops, as by Ctrl-S on a terminal, does not stop the daemon.

What cannot be written waits in a queue of limited length; text beyond it is dropped, and how many writes that were is
logged as soon as writing goes on.
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Protocol, TextIO

import structlog

MAX_QUEUED = 5000  # writes; each is one event
MAX_BATCH = 1 << 16  # bytes that are written at once
BATCH_TIME = 0.05  # seconds between two writes, in which events gather: a switch to the thread for each slows requests
FLUSH_TIMEOUT = 1.0  # seconds that the end of the process waits for the queue


class LogStream(Protocol):
    """What the log is written to."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...

    def isatty(self) -> bool: ...


def in_background(stream: TextIO) -> LogStream:
    """A stream that writes to the same file without ever blocking; the stream itself where it is no file."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return stream
    background = BackgroundStream(descriptor, is_terminal=stream.isatty())
    atexit.register(background.close)
    return background


def _log_dropped(count: int) -> None:
    structlog.get_logger("ppmproxy").warning("log_events_dropped", count=count, why="nobody read the log")


class BackgroundStream:
    """Writes text to a file descriptor, in its order; `write` never blocks."""

    def __init__(
        self,
        descriptor: int,
        *,
        is_terminal: bool = False,
        max_queued: int = MAX_QUEUED,
        on_dropped: Callable[[int], None] = _log_dropped,
    ) -> None:
        """`on_dropped` is called in the writing thread, with the number of writes that were dropped."""
        self._descriptor = descriptor
        self._is_terminal = is_terminal
        self._max_queued = max_queued
        self._on_dropped = on_dropped
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()  # None: the end
        self._dropped = 0
        self._error: OSError | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, text: str) -> None:
        """Have a text written, or drop it; raises the `OSError` by which an earlier one was lost."""
        if self._queue.qsize() >= self._max_queued:
            self._dropped += 1
        else:
            self._queue.put(text.encode("utf-8", "backslashreplace"))
        error, self._error = self._error, None
        if error is not None:
            raise error

    def flush(self) -> None:
        """Nothing: what is in the queue is written as soon as that is possible."""

    def isatty(self) -> bool:
        return self._is_terminal

    def close(self, timeout: float = FLUSH_TIMEOUT) -> None:
        """Write what is in the queue, as far as that takes no longer than this."""
        self._ending.set()
        self._queue.put(None)
        self._thread.join(timeout)

    def _run(self) -> None:
        is_open, written_at = True, float("-inf")
        while is_open:
            batch = bytearray()
            while is_open and (not batch or (len(batch) < MAX_BATCH and not self._queue.empty())):
                text = self._queue.get()
                is_open = text is not None
                if not batch:
                    self._ending.wait(max(0.0, written_at + BATCH_TIME - time.monotonic()))
                batch += text or b""
            self._write(bytes(batch))
            written_at = time.monotonic()
            dropped, self._dropped = self._dropped, 0
            if dropped:
                self._on_dropped(dropped)

    def _write(self, data: bytes) -> None:
        # Not through the stream: a thread that holds its lock at the end of the process would crash the interpreter.
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            self._error = error
