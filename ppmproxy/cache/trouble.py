"""What is wrong with the cache on disk: reported once, however often it happens, until it is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from ppmproxy.cache.advice import AT_THE_MOMENT, NOT_WRITTEN, advice_for
from ppmproxy.cache.folder import CacheUnusableError, ReadOnlyCacheError

if TYPE_CHECKING:
    from pathlib import Path

_FULL_FOR = 60.0  # seconds for which a failure to write is the trouble, though smaller files still have room


class CacheTrouble:
    """The trouble with the cache in a folder, if there is any: `what` it is; may be used in any thread."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.what = ""
        self._at_the_moment = f"the cache {folder} {AT_THE_MOMENT}"
        self._not_written = f"the cache {folder} {NOT_WRITTEN}"
        self._unusable = f"the cache {folder} cannot be used"
        self._clock = clock
        self._full_until = float("-inf")
        self._log = structlog.get_logger("ppmproxy")

    def __repr__(self) -> str:
        return f"CacheTrouble({self.what!r})"

    def report_unusable(self, error: Exception) -> None:
        """It cannot be used any more."""
        if isinstance(error, CacheUnusableError):
            self._report(str(error), error.hint, is_intended=isinstance(error, ReadOnlyCacheError))
        else:
            self._report(f"{self._unusable}: {error}")

    def report_moment(self, error: Exception) -> None:
        """It cannot be used at the moment: another process holds the database, or the disk is full."""
        self._report(f"{self._at_the_moment}: {error}")

    def end_moment(self) -> None:
        """The database was written."""
        if self.what.startswith(self._at_the_moment):
            self.what = ""

    def report_full(self, error: OSError) -> None:
        """A file could not be written."""
        self._full_until = self._clock() + _FULL_FOR
        self._report(f"{self._not_written}: {(error.strerror or str(error)).lower()}")

    def end_full(self) -> None:
        """A file was written: a disk that was full has room again."""
        if self._clock() >= self._full_until and self.what.startswith(self._not_written):
            self.what = ""

    def end(self) -> None:
        """It can be used."""
        self.what = ""

    def _report(self, what: str, hint: str = "", *, is_intended: bool = False) -> None:
        if self.what:
            return
        self.what = what
        log = self._log.info if is_intended else self._log.warning
        log("cache_unusable", why=what, hint=hint or advice_for(what))
