"""The store of the cache on disk, for the event loop: what is in use, what is kept, and what has to go.

Whatever is wrong with folder, disk or database: the proxy goes on without, and says so once.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, BinaryIO

from ppmproxy.cache.blob_writer import BlobWriter
from ppmproxy.cache.blobs import Blobs
from ppmproxy.cache.catalog_thread import CatalogThread
from ppmproxy.cache.rights import Refusals
from ppmproxy.cache.trouble import CacheTrouble

if TYPE_CHECKING:
    from ppmproxy.cache.blobs import PartialFile
    from ppmproxy.cache.catalog import CacheCatalog
    from ppmproxy.cache.catalog_rows import Totals, UrlRow
    from ppmproxy.cache.folder import CacheFolder

UNCHECKED_SHARE = 100  # of the largest size one part may be kept before it is looked whether all fits
USES_TOGETHER = 1.0  # seconds in which hits and misses gather, to be written to the disk at a time


class Store:
    """What is on disk; `open` it before its first use, and `close` it in the end.

    `totals` says how much there was at the last `count`.
    """

    def __init__(
        self,
        folder: CacheFolder,
        max_size: int,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self.max_size = max_size
        self.totals: Totals | None = None  # None: not known
        self.trouble = CacheTrouble(folder.path, clock)
        self.refusals = Refusals()
        self.blobs = Blobs(folder)
        self.catalog = CatalogThread(folder, self.trouble, self.blobs.remove_abandoned, clock)
        self._writer = BlobWriter(self.blobs)
        self._wall = wall
        self._in_use: Counter[str] = Counter()
        self._used: dict[str, float] = {}
        self._counts: Counter[str] = Counter()
        self._flushing: asyncio.TimerHandle | None = None
        self._unchecked = max_size  # bytes kept since it was last looked whether all fits; at first it is

    def __repr__(self) -> str:
        return f"Store({str(self.folder.path)!r}, trouble={self.trouble.what!r})"

    async def open(self) -> bool:
        """Open it, the first time; whether it can be used."""
        return await self.catalog.open()

    async def close(self) -> None:
        """Write what is still to be written, and close the database."""
        self._flush_uses()
        await self.catalog.close()
        self._writer.close()

    # --- totals ---

    async def count(self) -> None:
        """Find out how much there is, for `totals`."""
        self._flush_uses()
        self.totals = await self.catalog.ask(self._counted) if await self.open() else None

    def count_later(self) -> None:
        """The same without waiting for it, where the cache is in use."""
        self.catalog.later(self._counted)

    def _counted(self, catalog: CacheCatalog) -> Totals:
        self.totals = catalog.totals()
        return self.totals

    # --- blobs ---

    async def open_blob(self, digest: str) -> BinaryIO | None:
        """A blob, verified; None where it is not here. Pass its file to `close_blob`."""
        file = self.blobs.open(digest)
        if file is None and not self.blobs.is_there(digest):
            return None
        if file is None:
            self._in_use[digest] += 1
            try:
                is_right = await asyncio.to_thread(self.blobs.verify, digest)
            finally:
                self._release(digest)
            file = self.blobs.open(digest) if is_right else None
            if not is_right:
                self.catalog.later(lambda catalog: catalog.forget_blobs([digest]))
        if file is not None:
            self._in_use[digest] += 1
        return file

    def close_blob(self, digest: str, file: BinaryIO) -> None:
        """Close a blob's file."""
        file.close()
        self._release(digest)

    def _release(self, digest: str) -> None:
        self._in_use[digest] -= 1
        if not self._in_use[digest]:
            del self._in_use[digest]

    def record_hit(self, digest: str, size: int) -> None:
        """Count that a blob, or with an empty digest a page, was sent from the cache."""
        if digest:
            self._used[digest] = self._wall()
        self._counts["hits"] += 1
        self._counts["saved_bytes"] += size
        self._flush_soon()

    def record_miss(self) -> None:
        self._counts["misses"] += 1
        self._flush_soon()

    def add_to_counts(self, **counts: int) -> None:
        """Count something else, for `totals`."""
        self._counts.update(counts)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_later(USES_TOGETHER, self._flush_uses)

    def _flush_uses(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        used, self._used = self._used, {}
        counts, self._counts = self._counts, Counter()
        if used or counts:
            self.catalog.later(lambda catalog: self._record_use(catalog, used, counts))

    def _record_use(self, catalog: CacheCatalog, used: Mapping[str, float], counts: Mapping[str, int]) -> None:
        catalog.record_use(used, counts)
        self.trouble.end_moment()

    def hurry(self) -> None:
        """Write what may wait, because somebody waits for it."""
        self._writer.hurry()

    def is_refused(self, row: UrlRow, before: int) -> bool:
        """Whether its holder was refused a URL since there were so many refusals `before`."""
        return self.refusals.has_since(before, row.holder, [row.url])

    async def keep(
        self, content: PartialFile | bytes, row: UrlRow, refusals_before: int, *, may_wait: bool = False
    ) -> bool:
        """Keep a whole and right file, a small one soon where it `may_wait`; whether that was possible.

        `refusals_before` it was asked for: a URL that was refused since then is not recorded.
        """
        self._in_use[row.digest] += 1
        size = len(content) if isinstance(content, bytes) else content.written
        is_due = self._is_check_due(size)
        try:
            if isinstance(content, bytes):
                await self._writer.add(content, row.digest, may_wait=may_wait)
            else:
                await self._writer.keep(content, row.digest)
        except OSError as error:
            self.trouble.report_full(error)
            return False
        else:
            self.trouble.end_full()
            if self.is_refused(row, refusals_before):
                self.catalog.soon(lambda catalog: catalog.save_blob(row.digest, size, row.proved_at))
            else:
                self.catalog.soon(lambda catalog: catalog.save_file(row, size))
            if is_due:
                self._flush_uses()
                await self.catalog.ask(self._evict)
            return not self.catalog.is_broken
        finally:
            self._release(row.digest)

    def keep_blob(self, partial: PartialFile, digest: str) -> bool:
        """Keep a whole and right file of which nothing else is known; whether that was possible.

        It is not synced: it can be had again, and is verified before its first use in another process.
        """
        size, now, is_due = partial.written, self._wall(), self._is_check_due(partial.written)

        def save(catalog: CacheCatalog) -> None:
            catalog.save_blob(digest, size, now)
            if is_due:
                self._evict(catalog)

        try:
            self.blobs.keep(partial, digest, is_synced=False)
        except OSError as error:
            self.trouble.report_full(error)
            return False
        self.trouble.end_full()
        self.catalog.soon(save)
        return True

    def _is_check_due(self, size: int) -> bool:
        """Whether to check again that everything fits, after so many more bytes."""
        self._unchecked += size
        is_due = self._unchecked > self.max_size // UNCHECKED_SHARE
        self._unchecked = 0 if is_due else self._unchecked
        return is_due

    def _evict(self, catalog: CacheCatalog) -> None:
        superfluous = catalog.superfluous(self.max_size, frozenset(self._in_use))
        for digest in superfluous:
            self.blobs.remove(digest)
        catalog.forget_blobs(superfluous)
        if superfluous:
            catalog.forget_old_urls()
