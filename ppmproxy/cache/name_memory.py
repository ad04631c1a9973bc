"""The names and rows of files that were used last, in memory: what is here need not be asked of the catalog."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ppmproxy.cache.catalog_rows import Naming, UrlRow

MOST_NAMES = 20_000
MOST_NAMES_OF_A_PAGE = 5_000

Key = tuple[bytes, str]  # holder and canonical URL


@dataclass(frozen=True, slots=True)
class NamedFile:
    """What pages of one holder name a file, and what its URL had the last time, where that was looked up."""

    naming: Naming
    row: UrlRow | None = None
    is_row_known: bool = False


class NameMemory:
    """The names that were learnt or looked up last."""

    def __init__(self) -> None:
        self._files: dict[Key, NamedFile] = {}

    def get(self, holder: bytes, url: str) -> NamedFile | None:
        """What is known of a file; None where the catalog has to be asked."""
        return self._files.get((holder, url))

    def put(self, holder: bytes, url: str, file: NamedFile) -> None:
        """Remember what the catalog has."""
        self._files.pop((holder, url), None)
        self._files[holder, url] = file
        while len(self._files) > MOST_NAMES:
            del self._files[next(iter(self._files))]

    def learn(self, holder: bytes, page: str, names: Mapping[str, str], now: float) -> None:
        """Take over what a page names, in place of what it named before."""
        self.forget_page(holder, page)
        if len(names) > MOST_NAMES_OF_A_PAGE:
            return
        for url, digest in names.items():
            known = self._files.pop((holder, url), None)
            if known is None:
                self.put(holder, url, NamedFile(Naming(digest, (page,), now)))
            elif known.naming.digest == digest:
                pages = (*known.naming.pages, page)
                self.put(holder, url, NamedFile(Naming(digest, pages, now), known.row, known.is_row_known))
            # else two pages differ, and the catalog decides

    def put_row(self, row: UrlRow) -> None:
        """A file of this URL was kept."""
        known = self._files.get((row.holder, row.url))
        if known is not None and not row.variant and known.naming.digest == row.digest:
            self.put(row.holder, row.url, NamedFile(known.naming, row, is_row_known=True))

    def forget_page(self, holder: bytes, page: str) -> None:
        """A page is no longer what it was."""
        self._forget(key for key, file in self._files.items() if key[0] == holder and page in file.naming.pages)

    def forget_holder(self, holder: bytes) -> None:
        """A holder has no rights any more."""
        self._forget(key for key in self._files if key[0] == holder)

    def forget_file(self, holder: bytes, url: str) -> None:
        self._files.pop((holder, url), None)

    def _forget(self, keys: Iterable[Key]) -> None:
        for key in list(keys):
            del self._files[key]
