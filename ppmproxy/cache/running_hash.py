"""The SHA-256 of a body while it comes in: at once, or in a thread that follows the file that it is written to."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

HASHED_TOGETHER = 1 << 22  # bytes in the file for which the thread is woken
PIECE = 1 << 19  # bytes that the thread reads at once
CAN_FOLLOW = sys.platform != "win32"  # whether a file can be read at a place while another thread writes to it


class RunningHash:
    """The hash of a body so far. Its bytes are passed to `update`, or are in a file, of which `follow` says how far."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._at = 0  # bytes that are hashed, or that the thread hashes at the moment
        self._left: tuple[BinaryIO, int] | None = None  # a file, and up to where it is to be hashed
        self._thread: ThreadPoolExecutor | None = None
        self._job: Future[None] | None = None
        self._error: OSError | None = None

    def update(self, chunk: bytes | memoryview) -> None:
        """Add bytes; waits for the thread, where it has not hashed all before."""
        self._catch_up()
        self._hash.update(chunk)
        self._at += len(chunk)

    def follow(self, file: BinaryIO, end: int) -> None:
        """Add the bytes of a file up to there, where all that was added before is in it, too."""
        self._left = file, end
        if end - self._at < HASHED_TOGETHER or not (self._job is None or self._job.done()):
            return
        self._finish_job()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "hash")
        start, self._at = self._at, end
        self._job = self._thread.submit(self._add, os.dup(file.fileno()), start, end)

    async def digest(self) -> str:
        """The hash of all in hexadecimal; `OSError` where the file could not be read."""
        if self._left is not None:
            await asyncio.to_thread(self._catch_up)
        if self._error is not None:
            raise self._error
        return self._hash.hexdigest()

    def close(self) -> None:
        """End the thread, once it has done what it does at the moment."""
        if self._thread is not None:
            self._thread.shutdown(wait=False)

    def _catch_up(self) -> None:
        self._finish_job()
        if self._left is None:
            return
        file, end = self._left
        start, self._at, self._left = self._at, end, None
        try:
            self._add(os.dup(file.fileno()), start, end)
        except OSError as error:
            self._error = error

    def _finish_job(self) -> None:
        if self._job is not None:
            error = self._job.exception()
            self._error = error if isinstance(error, OSError) else self._error
            self._job = None

    def _add(self, descriptor: int, start: int, end: int) -> None:
        try:
            while start < end:
                if not (piece := _read_at(descriptor, min(PIECE, end - start), start)):
                    raise OSError("a file of the cache has become shorter while it was written")
                self._hash.update(piece)
                start += len(piece)
        finally:
            os.close(descriptor)


def _read_at(descriptor: int, size: int, at: int) -> bytes:
    if sys.platform == "win32":
        raise NotImplementedError
    else:  # noqa: RET506 - mypy takes what follows for unreachable on the other platforms
        return os.pread(descriptor, size, at)
