"""The catalog, for the event loop: its uses, one after another, in a thread of their own.

sqlite3 is not imported, and nothing is opened, before the first request needs it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import structlog

if TYPE_CHECKING:
    from ppmproxy.cache.catalog import CacheCatalog
    from ppmproxy.cache.folder import CacheFolder
    from ppmproxy.cache.trouble import CacheTrouble

T = TypeVar("T")
Change = Callable[["CacheCatalog"], object]

LEFT_ALONE = 3.0  # seconds for which a database that another process holds is not waited for again
OPENED_AGAIN_AFTER = 10.0  # seconds, where another process holds the database
SAVED_TOGETHER = 0.25  # seconds that what was fetched may be in memory only, so that a burst of requests goes first


class CatalogThread:
    """The catalog of a folder; `close` it in the end.

    `on_open` is called in the thread, once the catalog can be used.
    """

    def __init__(
        self,
        folder: CacheFolder,
        trouble: CacheTrouble,
        on_open: Callable[[], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.key: bytes | None = None  # for rights; None until `open` has succeeded
        self.is_broken = False  # for good
        self._folder = folder
        self._trouble = trouble
        self._on_open = on_open
        self._clock = clock
        self._thread: ThreadPoolExecutor | None = None
        self._catalog: CacheCatalog | None = None
        self._opening: asyncio.Future[bool] | None = None
        self._open_again_at = math.inf
        self._left_alone_until = float("-inf")
        self._unsaved: list[Change] = []
        self._saving: asyncio.TimerHandle | None = None
        self._ends: list[Change] = []  # that the database has not taken yet
        self._log = structlog.get_logger("ppmproxy")

    def __repr__(self) -> str:
        return f"CatalogThread({str(self._folder.path)!r}, is_broken={self.is_broken})"

    # --- in the event loop ---

    async def open(self) -> bool:
        """Open it, the first time; whether it can be used."""
        if self.key is not None:
            return not self.is_broken
        if self._opening is None or self._clock() >= self._open_again_at:
            self._open_again_at = math.inf
            self._thread = self._thread or ThreadPoolExecutor(1, "cache")
            self._opening = asyncio.get_running_loop().run_in_executor(self._thread, self._open)
        return await asyncio.shield(self._opening) and not self.is_broken

    async def close(self) -> None:
        """Make the changes that are still to be made, and close the database."""
        if self._thread is None:
            return
        self._save_now()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=True)
        self._thread, self.is_broken = None, True

    async def ask(self, question: Callable[[CacheCatalog], T]) -> T | None:
        """The answer to a question; None where it cannot be used."""
        if self._thread is None or self.is_broken:
            return None
        self._save_now()
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, question)

    def later(self, change: Change) -> None:
        """Make a change, without waiting for it; changes keep their order."""
        if self._thread is not None and not self.is_broken:
            self._save_now()
            self._thread.submit(self._guarded, change)

    def soon(self, change: Change) -> None:
        """As `later`, together with other changes; a kill may lose them, so this is not for refusals."""
        if self._thread is not None and not self.is_broken:
            self._unsaved.append(change)
            if self._saving is None:
                self._saving = asyncio.get_running_loop().call_later(SAVED_TOGETHER, self._save_now)

    def end(self, change: Change) -> None:
        """As `later`, for a refusal: where the database takes nothing now, the change precedes its next use."""
        if self._thread is not None and not self.is_broken:
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

    # --- in the thread ---

    def _open(self) -> bool:
        try:
            from ppmproxy.cache.catalog import CacheCatalog  # noqa: PLC0415 - sqlite3 takes 10 ms to import

            self._folder.prepare()
            self._catalog = CacheCatalog(self._folder.database)
        except Exception as error:  # noqa: BLE001 - whatever it is, the proxy goes on without a cache
            if type(error).__name__ == "OperationalError":  # of sqlite3: another process holds it
                self._trouble.report_moment(error)
                self._open_again_at = self._clock() + OPENED_AGAIN_AFTER
            else:
                self._give_up(error)
            return False
        self.key = self._catalog.key
        self._trouble.end()
        self._on_open()
        return True

    def _close(self) -> None:
        self._left_alone_until = float("-inf")
        self._guarded(lambda _catalog: None)
        if self._catalog is not None:
            self._catalog.close()

    def _save(self, changes: Sequence[Change]) -> None:
        """Make changes, all at once as long as none of them fails."""
        if len(changes) > 1 and self._guarded(lambda catalog: catalog.together(changes)):
            return
        for change in changes:
            self._guarded(change)

    def _guarded(self, use: Callable[[CacheCatalog], T]) -> T | None:
        """The result, None for an error. Only a damaged database is given up; no request can cause that."""
        if self._catalog is None or self.is_broken or self._clock() < self._left_alone_until:
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
                    self._trouble.report_moment(error)
                case "DatabaseError":  # of sqlite3, and none of its subclasses: not a database, or malformed
                    self._give_up(error)
                case kind:
                    self._log.warning("cache_question_failed", why=kind)
        return None

    def _give_up(self, error: Exception) -> None:
        self.is_broken = True
        self._trouble.report_unusable(error)
