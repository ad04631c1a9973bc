"""The names and rows of files that were used last, in memory: what is here need not be asked of the catalog."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

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
        self._doubtful: set[Key] = set()  # of which two pages named different hashes: the catalog decides
        self._named: dict[Key, dict[str, None]] = {}  # by holder and page: the URLs that it names
        self._proved_at: dict[Key, float] = {}  # by holder and page, where that was in this process

    def get(self, holder: bytes, url: str) -> NamedFile | None:
        """What is known of a file; None where the catalog has to be asked."""
        file = self._files.get((holder, url))
        if file is None:
            return None
        naming = file.naming
        times = (self._proved_at.get((holder, page), naming.proved_at) for page in naming.pages)
        proved_at = max(times, default=naming.proved_at)
        return file if proved_at == naming.proved_at else replace(file, naming=replace(naming, proved_at=proved_at))

    def put(self, holder: bytes, url: str, file: NamedFile) -> None:
        """Remember what the catalog has."""
        self._files.pop((holder, url), None)
        self._files[holder, url] = file
        for page in file.naming.pages:
            self._named.setdefault((holder, page), {})[url] = None
        while len(self._files) > MOST_NAMES:
            self.forget_file(*next(iter(self._files)))
        if len(self._doubtful) > MOST_NAMES:
            for kept in (self._files, self._named, self._doubtful, self._proved_at):
                kept.clear()
        while len(self._named) > MOST_NAMES:
            self.forget_page(*next(iter(self._named)))

    def learn(self, holder: bytes, page: str, names: Mapping[str, str], now: float) -> None:
        """Take over what a page names, in place of what it named before."""
        self.forget_page(holder, page)
        if len(names) > MOST_NAMES_OF_A_PAGE:
            return
        for url, digest in names.items():
            known = self._files.get((holder, url))
            if (holder, url) in self._doubtful:
                continue
            if known is None:
                self.put(holder, url, NamedFile(Naming(digest, (page,), now)))
            elif known.naming.digest == digest:
                pages = (*known.naming.pages, page)
                self.put(holder, url, NamedFile(Naming(digest, pages, now), known.row, known.is_row_known))
            else:
                self.forget_file(holder, url)
                self._doubtful.add((holder, url))

    def prove_page(self, holder: bytes, page: str, now: float) -> None:
        """A page was confirmed as unchanged."""
        if (holder, page) in self._named:
            self._proved_at[holder, page] = now

    def put_row(self, row: UrlRow) -> None:
        """A file of this URL was kept."""
        known = self._files.get((row.holder, row.url))
        if known is not None and not row.variant and known.naming.digest == row.digest:
            self.put(row.holder, row.url, NamedFile(known.naming, row, is_row_known=True))

    def forget_page(self, holder: bytes, page: str) -> None:
        """A page is no longer what it was."""
        self._proved_at.pop((holder, page), None)
        for url in self._named.pop((holder, page), ()):
            self.forget_file(holder, url)

    def forget_holder(self, holder: bytes) -> None:
        """A holder has no rights any more."""
        for page in [page for owner, page in self._named if owner == holder]:
            self.forget_page(holder, page)
        for key in [key for key in self._files if key[0] == holder]:
            del self._files[key]

    def forget_file(self, holder: bytes, url: str) -> None:
        """The catalog has to be asked of this file."""
        file = self._files.pop((holder, url), None)
        for page in file.naming.pages if file else ():
            named = self._named.get((holder, page), {})
            named.pop(url, None)
            if not named:
                self._named.pop((holder, page), None)
                self._proved_at.pop((holder, page), None)
