"""A store of blobs in a folder that several machines have mounted.

Files are written beside their place and renamed. Its threads are its own: a volume that hangs takes none from others.
"""

from __future__ import annotations

import asyncio
import contextlib
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
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


class DiskStore:
    """Blobs below a folder; other users may read them as far as the umask lets them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._threads = ThreadPoolExecutor(THREADS, "shared-cache")

    def __repr__(self) -> str:
        return f"DiskStore({str(self._folder)!r})"

    @contextlib.asynccontextmanager
    async def open(self, key: str) -> AsyncIterator[StoredBlob | None]:
        """See `BlobStore`."""
        file = await self._do(lambda: self._opened(key))
        if file is None:
            yield None
            return
        with file:
            async with contextlib.aclosing(self._chunks(file)) as chunks:
                yield StoredBlob(os.fstat(file.fileno()).st_size, chunks)

    async def size(self, key: str) -> int | None:
        """See `BlobStore`."""
        return await self._do(lambda: self._size(key))

    async def put(self, key: str, path: Path) -> None:
        """See `BlobStore`."""
        await self._do(lambda: self._put(key, path))

    async def delete(self, key: str) -> None:
        """See `BlobStore`."""
        await self._do(lambda: (self._folder / key).unlink(missing_ok=True))

    async def check(self) -> None:
        """See `BlobStore`."""
        await self._do(lambda: self._folder.mkdir(parents=True, exist_ok=True))

    async def close(self) -> None:
        """See `BlobStore`."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _do(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            hint = "mount the volume, make the folder this user's, or make room there"
            raise StoreError(f"the shared cache {self._folder} cannot be used: {reason}", hint) from error

    def _opened(self, key: str) -> BinaryIO | None:
        try:
            file = os.fdopen(os.open(self._folder / key, _READ), "rb", buffering=0)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            return None
        return file

    async def _chunks(self, file: BinaryIO) -> AsyncGenerator[bytes]:
        while chunk := await self._do(lambda: file.read(PIECE)):
            yield chunk

    def _size(self, key: str) -> int | None:
        try:
            return (self._folder / key).stat().st_size
        except FileNotFoundError:
            return None

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
