"""The store of the cache on disk, for the event loop: catalog and blobs, in one thread of their own.

Whatever is wrong with folder, disk or database: the proxy goes on without, and says so once. Nothing is opened, nor is
sqlite3 imported, before the first request needs it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO, TypeVar

import structlog

from ppmproxy.cache.advice import AT_THE_MOMENT, NOT_WRITTEN, advice_for
from ppmproxy.cache.blob_writer import BlobWriter
from ppmproxy.cache.blobs import Blobs
from ppmproxy.cache.folder import CacheFolder, CacheUnusableError, ReadOnlyCacheError

if TYPE_CHECKING:
    from ppmproxy.cache.blobs import PartialFile
    from ppmproxy.cache.catalog import CacheCatalog
    from ppmproxy.cache.catalog_rows import Totals, UrlRow

T = TypeVar("T")

UNCHECKED_SHARE = 100  # of the largest size one part may be kept before it is looked whether all fits
LEFT_ALONE = 3.0  # seconds for which a database that another process holds is not waited for again
USES_TOGETHER = 1.0  # seconds in which hits and misses gather, to be written to the disk at a time
SAVED_TOGETHER = 0.25  # seconds that what was fetched may be in memory only, so that a burst of requests goes first
OPENED_AGAIN_AFTER = 10.0  # seconds, where another process holds the database
_AT_THE_MOMENT = f"the cache's database {AT_THE_MOMENT}"
_FULL_FOR = 60.0  # seconds for which a failure to write is the trouble, though smaller files still have room


class Store:
    """What is on disk; `close` it in the end.

    `trouble` says what is wrong with it, `totals` how much there was at the last `count`.
    """

    def __init__(
        self,
        folder: CacheFolder,
        max_size: int,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.blobs = Blobs(folder)
        self.trouble = ""
        self.totals: Totals | None = None  # None: not known
        self.max_size = max_size
        self.key: bytes | None = None  # for rights; None until `open` has succeeded
        self.folder = folder
        self._wall = wall
        self._clock = clock
        self._open_again_at = math.inf
        self._thread: ThreadPoolExecutor | None = None
        self._writer = BlobWriter(self.blobs)
        self._catalog: CacheCatalog | None = None
        self._opening: asyncio.Future[bool] | None = None
        self._is_broken = False
        self._left_alone_until = float("-inf")
        self._full_until = float("-inf")
        self._ends: list[Callable[[CacheCatalog], object]] = []  # that the database has not taken yet
        self._in_use: Counter[str] = Counter()
        self._used: dict[str, float] = {}
        self._counts: Counter[str] = Counter()
        self._flushing: asyncio.TimerHandle | None = None
        self._unsaved: list[Callable[[CacheCatalog], object]] = []
        self._saving: asyncio.TimerHandle | None = None
        self._unchecked = max_size  # bytes kept since it was last looked whether all fits; at first it is
        self._log = structlog.get_logger("ppmproxy")

    def __repr__(self) -> str:
        return f"Store({str(self.folder.path)!r}, trouble={self.trouble!r})"

    # --- opening and closing ---

    async def open(self) -> bool:
        """Open it, the first time; whether it can be used."""
        if self.key is not None:
            return not self._is_broken
        if self._opening is None or self._clock() >= self._open_again_at:
            self._open_again_at = math.inf
            self._thread = self._thread or ThreadPoolExecutor(1, "cache")
            self._opening = asyncio.get_running_loop().run_in_executor(self._thread, self._open)
        return await asyncio.shield(self._opening) and not self._is_broken

    def _open(self) -> bool:
        try:
            from ppmproxy.cache.catalog import CacheCatalog  # noqa: PLC0415 - sqlite3 takes 10 ms to import

            self.folder.prepare()
            self._catalog = CacheCatalog(self.folder.database)
        except Exception as error:  # noqa: BLE001 - whatever it is, the proxy goes on without a cache
            if type(error).__name__ == "OperationalError":  # of sqlite3: another process holds it
                self._report(f"the cache {self.folder.path} {AT_THE_MOMENT}: {error}")
                self._open_again_at = self._clock() + OPENED_AGAIN_AFTER
            else:
                self._give_up(error)
            return False
        self.key, self.trouble = self._catalog.key, ""
        self.blobs.remove_abandoned()
        return True

    async def close(self) -> None:
        """Write what is still to be written, and close the database."""
        if self._thread is None:
            return
        self._flush_uses()
        self._save_now()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=True)
        self._writer.close()
        self._thread, self._is_broken = None, True

    def _close(self) -> None:
        self._left_alone_until = float("-inf")
        self._guarded(lambda _catalog: None)
        if self._catalog is not None:
            self._catalog.close()

    # --- the catalog ---

    async def ask(self, question: Callable[[CacheCatalog], T]) -> T | None:
        """The answer to a question to the catalog; None where it cannot be used."""
        if self._thread is None or self._is_broken:
            return None
        self._save_now()
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, question)

    def later(self, change: Callable[[CacheCatalog], object]) -> None:
        """Change the catalog, without waiting for it; changes keep their order."""
        if self._thread is not None and not self._is_broken:
            self._save_now()
            self._thread.submit(self._guarded, change)

    def soon(self, change: Callable[[CacheCatalog], object]) -> None:
        """As `later`, together with other changes; a kill may lose them, so this is not for refusals."""
        if self._thread is not None and not self._is_broken:
            self._unsaved.append(change)
            if self._saving is None:
                self._saving = asyncio.get_running_loop().call_later(SAVED_TOGETHER, self._save_now)

    def end(self, change: Callable[[CacheCatalog], object]) -> None:
        """As `later`, for a refusal: where the database takes nothing now, the change precedes its next use."""
        if self._thread is not None and not self._is_broken:
            self._save_now()  # first: what was fetched before the refusal ends with it
            self._thread.submit(self._ends.append, change)
            self.later(lambda _catalog: None)

    def _save_now(self) -> None:
        if self._saving is not None:
            self._saving.cancel()
            self._saving = None
        unsaved, self._unsaved = self._unsaved, []
        if unsaved and self._thread is not None:
            self._thread.submit(self._save, unsaved)

    def _save(self, changes: Sequence[Callable[[CacheCatalog], object]]) -> None:
        """Make changes, all at once as long as none of them fails."""
        if len(changes) > 1 and self._guarded(lambda catalog: catalog.together(changes)):
            return
        for change in changes:
            self._guarded(change)

    def _guarded(self, use: Callable[[CacheCatalog], T]) -> T | None:
        """The result, None for an error. Only a damaged database is given up; no request can cause that."""
        if self._catalog is None or self._is_broken or self._clock() < self._left_alone_until:
            return None
        try:
            while self._ends:
                self._ends[0](self._catalog)
                del self._ends[0]
            return use(self._catalog)
        except Exception as error:  # noqa: BLE001 - whatever it is, the proxy goes on
            match type(error).__name__:
                case "OperationalError":  # of sqlite3: locked by another process, a full disk
                    self._left_alone_until = self._clock() + LEFT_ALONE
                    self._report(f"{_AT_THE_MOMENT}: {error}")
                case "DatabaseError":  # of sqlite3, and none of its subclasses: not a database, or malformed
                    self._give_up(error)
                case kind:
                    self._log.warning("cache_question_failed", why=kind)
        return None

    def _give_up(self, error: Exception) -> None:
        """Give the catalog up."""
        self._is_broken = True
        if isinstance(error, CacheUnusableError):
            self._report(str(error), error.hint, is_intended=isinstance(error, ReadOnlyCacheError))
        else:
            self._report(f"the cache {self.folder.path} cannot be used: {error}")

    def report_full(self, error: OSError) -> None:
        """Report that a file could not be written."""
        self._full_until = self._clock() + _FULL_FOR
        self._report(f"{self._cannot_be_written}: {(error.strerror or str(error)).lower()}")

    @property
    def _cannot_be_written(self) -> str:
        return f"the cache {self.folder.path} {NOT_WRITTEN}"

    def _report_written(self) -> None:
        """A file was written: a disk that was full has room again."""
        if self._clock() >= self._full_until and self.trouble.startswith(self._cannot_be_written):
            self.trouble = ""

    def _report(self, what: str, hint: str = "", *, is_intended: bool = False) -> None:
        if self.trouble:
            return
        self.trouble = what
        log = self._log.info if is_intended else self._log.warning
        log("cache_unusable", why=what, hint=hint or advice_for(what))

    # --- totals ---

    async def count(self) -> None:
        """Find out how much there is, for `totals`."""
        self._flush_uses()
        self.totals = await self.ask(self._counted) if await self.open() else None

    def count_later(self) -> None:
        """The same without waiting for it, where the cache is in use."""
        self.later(self._counted)

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
                self.later(lambda catalog: catalog.forget_blobs([digest]))
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
            self.later(lambda catalog: self._record_use(catalog, used, counts))

    def _record_use(self, catalog: CacheCatalog, used: Mapping[str, float], counts: Mapping[str, int]) -> None:
        catalog.record_use(used, counts)
        if self.trouble.startswith(_AT_THE_MOMENT):  # which is over: this was written
            self.trouble = ""

    def hurry(self) -> None:
        """Write what may wait, because somebody waits for it."""
        self._writer.hurry()

    async def keep(self, content: PartialFile | bytes, row: UrlRow, *, may_wait: bool = False) -> bool:
        """Keep a whole and right file, a small one soon where it `may_wait`; whether that was possible."""
        self._in_use[row.digest] += 1
        size = len(content) if isinstance(content, bytes) else content.written
        is_due = self._is_check_due(size)
        try:
            if isinstance(content, bytes):
                await self._writer.add(content, row.digest, may_wait=may_wait)
            else:
                await self._writer.keep(content, row.digest)
        except OSError as error:
            self.report_full(error)
            return False
        else:
            self._report_written()
            self.soon(lambda catalog: catalog.save_file(row, size))
            if is_due:
                self._flush_uses()
                await self.ask(self._evict)
            return not self._is_broken
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
            self.report_full(error)
            return False
        self._report_written()
        self.soon(save)
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
