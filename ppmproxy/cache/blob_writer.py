"""The writer of whole blobs: in threads of its own, so that no question to the catalog waits for the disk.

Small blobs that come together are written and synced together, once no more come for a moment: a client that installs
many packages has its cores to itself until then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ppmproxy.cache.blobs import Blobs, PartialFile

WRITERS = 2  # threads that write files, and wait for the disk
QUIET = 0.1  # seconds without another small blob, after which those that have come are written
LONGEST = 0.5  # seconds that a small blob is in memory only
MOST_GATHERED = 4 << 20  # bytes of small blobs


@dataclass(frozen=True, slots=True)
class _Gathered:
    """A small blob in memory, and the future that is resolved once it is on disk."""

    content: bytes
    digest: str
    written: asyncio.Future[None]


class BlobWriter:
    """Writes the blobs of one folder; `close` it."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._threads = ThreadPoolExecutor(WRITERS, "blobs")  # which starts none before it is used
        self._gathered: list[_Gathered] = []
        self._gathered_size = 0
        self._write_at = self._write_by = float("-inf")  # on the event loop's clock
        self._timer: asyncio.TimerHandle | None = None
        self._hurried_until = float("-inf")

    async def keep(self, partial: PartialFile, digest: str) -> None:
        """Give a partial file, whose contents have that hash, its place; `OSError`."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._blobs.keep, partial, digest)

    async def add(self, content: bytes, digest: str, *, may_wait: bool) -> None:
        """Write a small blob whose contents have that hash, soon where it `may_wait`; `OSError`."""
        loop = asyncio.get_running_loop()
        gathered = _Gathered(content, digest, loop.create_future())
        self._gathered.append(gathered)
        self._gathered_size += len(content)
        now = loop.time()
        if not may_wait or self._gathered_size >= MOST_GATHERED or now < self._hurried_until:
            self._write_now()
        else:
            self._write_soon(loop, now)
        await gathered.written

    def hurry(self) -> None:
        """Somebody waits for a small blob: write what has come, and what comes within a moment."""
        self._hurried_until = asyncio.get_running_loop().time() + QUIET
        self._write_now()

    def close(self) -> None:
        """End the threads, once they have done what they do at the moment."""
        self._threads.shutdown(wait=True)

    def _write_soon(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        if self._timer is None:
            self._write_by = now + LONGEST
            self._timer = loop.call_at(now + QUIET, self._write_if_quiet)
        self._write_at = min(now + QUIET, self._write_by)

    def _write_if_quiet(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() >= self._write_at:
            self._write_now()
        else:
            self._timer = loop.call_at(self._write_at, self._write_if_quiet)

    def _write_now(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        gathered, self._gathered, self._gathered_size = self._gathered, [], 0
        if not gathered:
            return
        contents = [(one.content, one.digest) for one in gathered]
        writing = asyncio.get_running_loop().run_in_executor(self._threads, self._blobs.add_all, contents)
        writing.add_done_callback(_resolution_of(gathered))


def _resolution_of(gathered: list[_Gathered]) -> Callable[[asyncio.Future[list[OSError | None]]], None]:
    """Resolves the futures of blobs once they were written."""

    def resolve(writing: asyncio.Future[list[OSError | None]]) -> None:
        failure = writing.exception()
        errors = writing.result() if failure is None else [failure] * len(gathered)
        for one, error in zip(gathered, errors, strict=True):
            if one.written.done():  # cancelled
                continue
            if error is None:
                one.written.set_result(None)
            else:
                one.written.set_exception(error)

    return resolve
