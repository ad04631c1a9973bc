"""Uploads to the tier that machines share: in the background, two at a time, and given up rather than waited for.

What another machine has uploaded meanwhile is not uploaded again; overwriting a blob with itself would be harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from ppmproxy.cache.pause import Pause
from ppmproxy.cache.store import Store
from ppmproxy.cache.stores.protocol import BlobStore, StoreError, key_of

AT_ONCE = 2
MOST_WAITING = 2000  # blobs; more are not uploaded
LOOK_TIMEOUT = 10.0  # seconds
UPLOAD_TIMEOUT = 30.0  # seconds, and one more for each mebibyte
CLOSE_TIMEOUT = 2.0  # seconds in which an upload that is cancelled has to end


@dataclass(slots=True)
class UploadCounts:
    """What became of the blobs that were offered."""

    uploaded: int = 0
    uploaded_bytes: int = 0
    present: int = 0  # already there
    failed: int = 0
    dropped: int = 0  # during a pause, at the end, or too many at once


@dataclass(slots=True)
class Uploads:
    """The uploads under way, and those that wait."""

    disk: Store
    store: BlobStore
    pause: Pause
    counts: UploadCounts = field(default_factory=UploadCounts)
    _waiting: dict[str, bool] = field(default_factory=dict)  # by digest: whether it replaces what is there
    _workers: set[asyncio.Task[None]] = field(default_factory=set)

    def add(self, digest: str, *, replaces: bool) -> None:
        """Upload a blob of the disk, soon."""
        if len(self._waiting) >= MOST_WAITING or (self.pause.is_on and not self.pause.is_due):
            self.counts.dropped += 1
            return
        self._waiting[digest] = replaces or self._waiting.get(digest, False)
        if len(self._workers) < AT_ONCE:
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def close(self, until: Callable[[], float]) -> None:
        """Finish them, for as many seconds as are left; give up the rest."""
        if self._workers and (left := until()) > 0:
            await asyncio.wait(self._workers, timeout=left)
        workers = set(self._workers)
        self.cut()
        if workers:
            await asyncio.wait(workers, timeout=CLOSE_TIMEOUT)

    def cut(self) -> None:
        """Give up what is not uploaded yet."""
        self.counts.dropped += len(self._waiting)
        self._waiting.clear()
        for worker in self._workers:
            worker.cancel()

    async def _work(self) -> None:
        while self._waiting:
            digest = next(iter(self._waiting))
            replaces = self._waiting.pop(digest)
            if self.pause.is_on and not self.pause.is_due:
                self.counts.dropped += 1
                continue
            try:
                await self._upload(digest, replaces=replaces)
            except StoreError as error:
                if self.disk.blobs.is_there(digest):
                    self._record_failure(error)
                else:
                    self.counts.dropped += 1  # another process removed it, before the store opened it
            except asyncio.TimeoutError:  # before OSError, which it is from Python 3.11 on
                what = "the shared cache is too slow for uploads"
                self._record_failure(StoreError(what, 'check the network, or set cache_url_mode = "read"'))
            except OSError:
                self.counts.dropped += 1  # removed from the disk meanwhile

    async def _upload(self, digest: str, *, replaces: bool) -> None:
        file = await self.disk.open_blob(digest)
        if file is None:
            return  # evicted meanwhile
        try:
            path = self.disk.blobs.path_of(digest)
            size = path.stat().st_size
            if not replaces and await asyncio.wait_for(self.store.size(key_of(digest)), LOOK_TIMEOUT) == size:
                self.counts.present += 1
            else:
                await asyncio.wait_for(self.store.put(key_of(digest), path), UPLOAD_TIMEOUT + size / (1 << 20))
                self.counts.uploaded += 1
                self.counts.uploaded_bytes += size
                self.disk.add_to_counts(uploads=1, uploaded_bytes=size)
            self.pause.end()
        finally:
            self.disk.close_blob(digest, file)

    def _record_failure(self, error: StoreError) -> None:
        self.counts.failed += 1
        if self.pause.begin(str(error), error.hint):
            structlog.get_logger("ppmproxy").warning("shared_cache_upload_failed", why=str(error), hint=error.hint)
