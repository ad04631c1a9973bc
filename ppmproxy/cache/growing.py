"""A body that grows while it is downloaded, and that any number of clients read at the same time.

It grows on disk. Where the disk takes no more it goes on in memory, no faster than its slowest reader. The last byte is
held back until the whole is verified, so that a body that turns out wrong never ends as if it were right.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

from ppmproxy.cache.blobs import PartialFile
from ppmproxy.errors import PpmProxyError

PIECE = 1 << 18  # bytes that are read at once


class Growing:
    """The body so far; one writes, each `BodyReader` reads from the beginning."""

    def __init__(self, partial: PartialFile | None, *, is_held: bool = False) -> None:
        """Without a file it stays in memory until all have read it; `is_held`: nothing is read before the end."""
        self.partial = partial
        self._is_held = is_held
        self.size = 0
        self.readers: set[BodyReader] = set()
        self.error: PpmProxyError | None = None
        self.is_whole = False
        self._tail: deque[tuple[int, bytes]] = deque()  # where each chunk begins
        self._on_disk = 0
        self._changed = asyncio.Event()
        self._is_awaited = False
        self._was_read = asyncio.Event()

    def __repr__(self) -> str:
        return f"Growing({self.size}, readers={len(self.readers)}, whole={self.is_whole})"

    # --- writing ---

    def write(self, chunk: bytes | memoryview) -> OSError | None:
        """Append a chunk; returns what is wrong with the disk, the first time that it takes no more."""
        error = None
        if self.partial is not None and not self._tail:
            try:
                self.partial.write(chunk)
                self._on_disk += len(chunk)
            except OSError as failure:
                error = failure
                self.partial.written = self._on_disk
        if self._on_disk < self.size + len(chunk):
            self._tail.append((self.size, bytes(chunk)))
        self.size += len(chunk)
        self._wake()
        return error

    @property
    def is_on_disk(self) -> bool:
        """Whether all of it is in the file."""
        return self.partial is not None and self._on_disk == self.size

    @property
    def content(self) -> PartialFile | bytes | None:
        """All of it, as a file or as it is held in memory; None where neither has all."""
        if self._is_held and self.partial is None:
            return b"".join(chunk for _, chunk in self._tail)
        return self.partial if self.is_on_disk else None

    @property
    def in_memory(self) -> int:
        """Bytes that are not in the file and that not all have read."""
        return sum(len(chunk) for _, chunk in self._tail)

    async def wait_for_readers(self) -> None:
        """Wait while more than the last chunk is in memory, unless all of it is held there."""
        while not self._is_held and len(self._tail) > 1 and self.readers and not self.error:
            behind = min(reader.at for reader in self.readers)
            while len(self._tail) > 1 and self._tail[1][0] <= behind:
                self._tail.popleft()
            if len(self._tail) > 1:
                self._was_read.clear()
                await self._was_read.wait()

    def finish(self, error: PpmProxyError | None = None) -> None:
        """End the body: whole and verified, or with the error for which there is none."""
        self.error, self.is_whole = error, error is None
        self._wake()

    def close(self) -> None:
        """Discard what is on the disk; nobody reads it any more."""
        if self.partial is not None:
            self.partial.discard()

    def _wake(self) -> None:
        if self._is_awaited:
            self._is_awaited = False
            self._changed.set()
            self._changed = asyncio.Event()

    # --- reading ---

    @property
    def available(self) -> int:
        """Bytes that may be read."""
        if self.is_whole:
            return self.size
        return 0 if self._is_held else max(0, self.size - 1)

    def may_begin_at(self, at: int) -> bool:
        """Whether a new reader would find all from there on."""
        return not self._tail or self._tail[0][0] <= max(at, self._on_disk)

    def has(self, start: int, stop: int) -> bool:
        """Whether a part, which is not empty, may be read at once."""
        return start < stop <= self.available

    async def wait_for(self, at: int) -> None:
        """Wait until there is something at a place, or the end; raises the error where there is none."""
        while self.error is None and not self.is_whole and self.available <= at:
            self._is_awaited = True
            await self._changed.wait()
        if self.error is not None and self.available <= at:
            raise self.error

    def read(self, at: int, most: int) -> bytes:
        """What may be read at a place."""
        most = min(most, self.available - at)
        if most <= 0:
            return b""
        if at < self._on_disk and self.partial is not None:
            return self.partial.read(at, most)
        for start, chunk in self._tail:
            if start <= at < start + len(chunk):
                return chunk[at - start : at - start + most]
        return b""

    def in_file(self, at: int) -> int:
        """How many bytes may be read of the file from a place on."""
        return max(0, min(self.available, self._on_disk) - at)

    def was_read(self) -> None:
        """Wake the writer: a reader has come further, or has left."""
        self._was_read.set()


class BodyReader:
    """One client's place in a growing body."""

    def __init__(self, body: Growing, at: int = 0, end: int | None = None) -> None:
        self.at = at
        self.body = body
        self._end = end
        body.readers.add(self)

    async def read(self) -> bytes:
        """The next bytes, b"" at the end; raises the error where the body has no right end."""
        if self._end is not None and self.at >= self._end:
            return b""
        await self.body.wait_for(self.at)
        most = PIECE if self._end is None else min(PIECE, self._end - self.at)
        data = self.body.read(self.at, most)
        self.advance(len(data))
        return data

    def advance(self, size: int) -> None:
        """So many bytes were read."""
        self.at += size
        self.body.was_read()

    def close(self) -> None:
        with contextlib.suppress(KeyError):
            self.body.readers.remove(self)
        self.body.was_read()
