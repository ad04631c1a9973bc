"""A store of blobs in a folder that several machines have mounted.

Files are written beside their place and renamed. Its threads are its own: a volume that hangs takes none from others.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, TypeVar

from ppmproxy.cache.stores.protocol import StoredBlob, StoreError

T = TypeVar("T")

PIECE = 1 << 20  # bytes that are read at once
THREADS = 4
WRITERS = 2
_NO_FILE = (errno.ENOENT, errno.ELOOP, errno.ENXIO)  # nothing, a symbolic link, a socket
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


class DiskStore:
    """Blobs below a folder; other users may read them as far as the umask lets them."""

    def __init__(self, folder: Path, *, is_read_only: bool = False) -> None:
        self._folder = folder
        self._is_read_only = is_read_only
        self._threads = ThreadPoolExecutor(THREADS, "shared-cache")
        self._writers = ThreadPoolExecutor(WRITERS, "shared-cache-write")  # a write that hangs takes no reader's thread

    def __repr__(self) -> str:
        return f"DiskStore({str(self._folder)!r})"

    @contextlib.asynccontextmanager
    async def open(self, key: str) -> AsyncIterator[StoredBlob | None]:
        """See `BlobStore`."""
        opened = await self._do(lambda: self._opened(key))
        if opened is None:
            yield None
            return
        file, size = opened
        with file:
            async with contextlib.aclosing(self._chunks(file)) as chunks:
                yield StoredBlob(size, chunks)

    async def size(self, key: str) -> int | None:
        """See `BlobStore`."""
        return await self._do(lambda: self._size(key), self._writers)

    async def put(self, key: str, path: Path) -> None:
        """See `BlobStore`."""
        await self._do(lambda: self._put(key, path), self._writers)

    async def delete(self, key: str) -> None:
        """See `BlobStore`."""
        await self._do(lambda: (self._folder / key).unlink(missing_ok=True))

    async def check(self) -> None:
        """See `BlobStore`."""
        await self._do(self._check)

    async def close(self) -> None:
        """See `BlobStore`."""
        for threads in (self._threads, self._writers):
            threads.shutdown(wait=False, cancel_futures=True)

    async def _do(self, work: Callable[[], T], threads: ThreadPoolExecutor | None = None) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(threads or self._threads, work)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            hint = "mount the volume, make the folder this user's, or make room there"
            raise StoreError(f"the shared cache {self._folder} cannot be used: {reason}", hint) from error

    def _opened(self, key: str) -> tuple[BinaryIO, int] | None:
        """The file and its size; None where there is none, or something else."""
        try:
            descriptor = os.open(self._folder / key, _READ)
        except OSError as error:
            if error.errno in _NO_FILE:
                return None
            raise
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, descriptor)
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                return None
            stack.pop_all()
        return os.fdopen(descriptor, "rb", buffering=0), found.st_size

    async def _chunks(self, file: BinaryIO) -> AsyncGenerator[bytes]:
        while chunk := await self._do(lambda: file.read(PIECE)):
            yield chunk

    def _size(self, key: str) -> int | None:
        try:
            found = (self._folder / key).lstat()
        except FileNotFoundError:
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def _check(self) -> None:
        if self._is_read_only:
            next(self._folder.iterdir(), None)
        else:
            self._folder.mkdir(parents=True, exist_ok=True)

    def _put(self, key: str, path: Path) -> None:
        place = self._folder / key
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = place.with_name(f".{place.name}.{secrets.token_hex(8)}")
        try:
            with path.open("rb") as source, beside.open("xb") as target:
                shutil.copyfileobj(source, target, PIECE)
                target.flush()
                os.fsync(target.fileno())
            beside.replace(place)
        except OSError:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
