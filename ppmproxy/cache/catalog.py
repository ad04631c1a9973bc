"""The catalog of the cache in SQLite: pages, the names on them, blobs, and the last known answers of URLs.

Several processes may have it open (WAL). Every method is for the cache's own thread. Pages and names are kept under a
right's holder, so that one credential never finds what another one was shown.
"""

from __future__ import annotations

import json
import math
import secrets
import sqlite3
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from ppmproxy.cache.catalog_database import Transaction, open_database
from ppmproxy.cache.catalog_rows import SHARED_COUNTS, Naming, PageRow, Totals, UrlRow

MOST_URLS = 100_000  # of which is known what they had, each with some hundred bytes
PAGE_SHARE = 4  # pages may take one part of so many of the cache
UNCHECKED_PAGES = 100  # one part of so many of the pages' share may be saved before it is looked whether all fit
_COMPRESSION = 1


class CacheCatalog:
    """An open database; `close` it."""

    def __init__(self, path: Path) -> None:
        """Open it, making it where it is not there; errors as for `open_database`."""
        self._db = open_database(path)
        try:
            self.key = self._key()
            self._unchecked: float = math.inf  # bytes of pages saved since it was last looked whether they all fit
        except BaseException:
            self._db.close()
            raise

    def _key(self) -> bytes:
        found = self._db.execute("SELECT value FROM secrets WHERE name = 'rights'").fetchone()
        if found is None:
            with Transaction(self._db):
                new = "INSERT OR IGNORE INTO secrets VALUES ('rights', ?)"
                self._db.execute(new, (secrets.token_bytes(32),))
            found = self._db.execute("SELECT value FROM secrets WHERE name = 'rights'").fetchone()
        return bytes(found[0])

    def close(self) -> None:
        self._db.close()

    def together(self, changes: Iterable[Callable[[CacheCatalog], object]]) -> bool:
        """Make several changes in one transaction; False where one of them fails, and then none was made."""
        try:
            with Transaction(self._db):
                for change in changes:
                    change(self)
        except sqlite3.OperationalError:
            raise  # the database takes nothing at the moment
        except Exception:  # noqa: BLE001 - explained when it is made by itself
            return False
        return True

    # --- pages ---

    def page(self, holder: bytes, url: str, form: str) -> PageRow | None:
        """A page as it was kept for a holder."""
        query = "SELECT upstream, project, head, body, proved_at FROM pages WHERE holder = ? AND url = ? AND form = ?"
        found = self._db.execute(query, (holder, url, form)).fetchone()
        if found is None:
            return None
        upstream, project, head, body, proved_at = found
        return PageRow(holder, url, form, upstream, project, json.loads(head), zlib.decompress(body), proved_at)

    def save_page(self, row: PageRow, names: Mapping[str, str], most_bytes: int) -> None:
        """Keep a page and its names, in place of what it was before."""
        body = zlib.compress(row.body, _COMPRESSION)
        with Transaction(self._db):
            self._delete_pages("holder = ? AND url = ? AND form = ?", (row.holder, row.url, row.form))
            insert = "INSERT INTO pages (holder, url, form, upstream, project, head, body, proved_at)"
            values = (row.holder, row.url, row.form, row.upstream, row.project, json.dumps(dict(row.head)), body)
            page = self._db.execute(f"{insert} VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*values, row.proved_at)).lastrowid
            self._db.executemany("INSERT INTO names VALUES (?, ?, ?)", ((page, *name) for name in names.items()))
            self._unchecked += len(body)
            self._drop_old_pages(most_bytes // PAGE_SHARE)

    def _drop_old_pages(self, most_bytes: int) -> None:
        if self._unchecked <= most_bytes // UNCHECKED_PAGES:
            return
        self._unchecked = 0
        size = self._page_bytes()
        while size > most_bytes:
            oldest = self._db.execute("SELECT id, length(body) FROM pages ORDER BY proved_at LIMIT 1").fetchone()
            if oldest is None:
                break
            self._delete_pages("id = ?", (oldest[0],))
            size -= oldest[1]

    def prove_page(self, holder: bytes, url: str, form: str, at: float) -> None:
        """Record when the upstream last confirmed a page as unchanged; seconds since the epoch."""
        change = "UPDATE pages SET proved_at = ? WHERE holder = ? AND url = ? AND form = ?"
        self._db.execute(change, (at, holder, url, form))

    def forget_pages(self, holder: bytes, urls: Collection[str]) -> None:
        """Delete pages, in all their forms, and the names on them."""
        with Transaction(self._db):
            for url in urls:
                self._delete_pages("holder = ? AND url = ?", (holder, url))

    def forget_holder(self, holder: bytes) -> None:
        """Delete everything that a holder was shown."""
        with Transaction(self._db):
            self._delete_pages("holder = ?", (holder,))
            self._db.execute("DELETE FROM urls WHERE holder = ?", (holder,))

    def _delete_pages(self, condition: str, values: tuple[object, ...]) -> None:
        pages = f"SELECT id FROM pages WHERE {condition}"  # noqa: S608 - the conditions are this module's own
        self._db.execute(f"DELETE FROM names WHERE page IN ({pages})", values)  # noqa: S608
        self._db.execute(f"DELETE FROM pages WHERE id IN ({pages})", values)  # noqa: S608

    # --- files ---

    def naming(self, holder: bytes, url: str) -> Naming | None:
        """The hash that the pages of a holder name for a URL; None where no page does, or two differ."""
        query = (
            "SELECT names.digest, pages.url, pages.proved_at FROM names JOIN pages ON pages.id = names.page"
            " WHERE names.url = ? AND pages.holder = ?"
        )
        found = self._db.execute(query, (url, holder)).fetchall()
        if len({digest for digest, _, _ in found}) != 1:
            return None
        return Naming(found[0][0], tuple({page: None for _, page, _ in found}), max(row[2] for row in found))

    def url(self, holder: bytes, url: str, variant: str) -> UrlRow | None:
        """The last known answer of a URL."""
        query = "SELECT digest, head, proved_at FROM urls WHERE holder = ? AND url = ? AND variant = ?"
        found = self._db.execute(query, (holder, url, variant)).fetchone()
        return UrlRow(holder, url, variant, found[0], json.loads(found[1]), found[2]) if found else None

    def save_file(self, row: UrlRow, size: int) -> None:
        """Record a whole blob, and the URL that leads to it."""
        with Transaction(self._db):
            self._db.execute("INSERT OR REPLACE INTO blobs VALUES (?, ?, ?)", (row.digest, size, row.proved_at))
            values = (row.holder, row.url, row.variant, row.digest, json.dumps(dict(row.head)), row.proved_at)
            self._db.execute("INSERT OR REPLACE INTO urls VALUES (?, ?, ?, ?, ?, ?)", values)

    def save_blob(self, digest: str, size: int, now: float) -> None:
        """Record a whole blob to which no URL is known."""
        self._db.execute("INSERT OR REPLACE INTO blobs VALUES (?, ?, ?)", (digest, size, now))

    def prove_url(self, row: UrlRow, at: float) -> None:
        """Record when the upstream last confirmed a URL as unchanged; seconds since the epoch."""
        change = "UPDATE urls SET proved_at = ? WHERE holder = ? AND url = ? AND variant = ?"
        self._db.execute(change, (at, row.holder, row.url, row.variant))

    def forget_file(self, holder: bytes, url: str) -> tuple[str, ...]:
        """Delete the rights to a file and the pages that name it; returns the URLs of these pages."""
        named = self.naming_pages(holder, url)
        with Transaction(self._db):
            self._db.execute("DELETE FROM urls WHERE holder = ? AND url = ?", (holder, url))
            for page in named:
                self._delete_pages("holder = ? AND url = ?", (holder, page))
        return named

    def naming_pages(self, holder: bytes, url: str) -> tuple[str, ...]:
        """The URLs of the pages that name a file."""
        query = "SELECT pages.url FROM names JOIN pages ON pages.id = names.page WHERE names.url = ? AND holder = ?"
        return tuple(dict.fromkeys(page for (page,) in self._db.execute(query, (url, holder))))

    def storages(self, upstream: str) -> frozenset[str]:
        """The origins to which this upstream has redirected for a file that turned out right."""
        return frozenset(
            origin for (origin,) in self._db.execute("SELECT origin FROM storages WHERE upstream = ?", (upstream,))
        )

    def save_storage(self, upstream: str, origin: str) -> None:
        self._db.execute("INSERT OR IGNORE INTO storages VALUES (?, ?)", (upstream, origin))

    # --- blobs ---

    def record_use(self, used: Mapping[str, float], counts: Mapping[str, int]) -> None:
        """Record when blobs were last read, and add to the counts."""
        with Transaction(self._db):
            change = "UPDATE blobs SET used_at = ? WHERE digest = ?"
            self._db.executemany(change, ((at, digest) for digest, at in used.items()))
            add = "INSERT INTO counts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"
            self._db.executemany(add, counts.items())

    def forget_blobs(self, digests: Iterable[str]) -> None:
        with Transaction(self._db):
            self._db.executemany("DELETE FROM blobs WHERE digest = ?", ((digest,) for digest in digests))

    def forget_old_urls(self, most: int = MOST_URLS) -> None:
        """Delete the URLs whose blobs are gone, and all others but the `most` that were confirmed last."""
        beyond = "SELECT proved_at FROM urls ORDER BY proved_at DESC LIMIT 1 OFFSET ?"
        with Transaction(self._db):
            self._db.execute("DELETE FROM urls WHERE digest NOT IN (SELECT digest FROM blobs)")
            self._db.execute(f"DELETE FROM urls WHERE proved_at <= ({beyond})", (most,))  # noqa: S608

    def superfluous(self, most_bytes: int, in_use: Collection[str]) -> list[str]:
        """The blobs to remove so that everything fits, those used least recently first."""
        excess = self._file_bytes() + self._page_bytes() - most_bytes
        superfluous: list[str] = []
        if excess <= 0:
            return superfluous
        for digest, size in self._db.execute("SELECT digest, size FROM blobs ORDER BY used_at, size, digest"):
            if excess <= 0:
                break
            if digest not in in_use:
                superfluous.append(digest)
                excess -= size
        return superfluous

    def _file_bytes(self) -> int:
        return int(self._db.execute("SELECT coalesce(sum(size), 0) FROM blobs").fetchone()[0])

    def _page_bytes(self) -> int:
        return int(self._db.execute("SELECT coalesce(sum(length(body)), 0) FROM pages").fetchone()[0])

    def digests_of(self, project: str) -> list[str]:
        """The blobs that pages of a project name and that are not known from any other project's."""
        named = "SELECT digest FROM names JOIN pages ON pages.id = names.page WHERE project"
        query = (
            f"SELECT digest FROM blobs WHERE digest IN ({named} = ?)"  # noqa: S608 - this module's own words
            f" AND digest NOT IN ({named} <> ?)"
        )
        return [digest for (digest,) in self._db.execute(query, (project, project))]

    def clear(self) -> None:
        """Delete everything but the key of the rights."""
        with Transaction(self._db):
            for table in ("names", "pages", "urls", "blobs", "storages", "counts"):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608
        self._db.execute("VACUUM")

    def set_blobs(self, sizes: Mapping[str, int]) -> None:
        """Replace the list of blobs; those that were not known count as used long ago."""
        with Transaction(self._db):
            known = {digest for (digest,) in self._db.execute("SELECT digest FROM blobs")}
            self._db.executemany("DELETE FROM blobs WHERE digest = ?", ((one,) for one in known - set(sizes)))
            insert = "INSERT OR IGNORE INTO blobs VALUES (?, ?, 0)"
            self._db.executemany(insert, ((digest, size) for digest, size in sizes.items()))

    def clear_project(self, project: str) -> None:
        """Delete the pages of a project, for every upstream."""
        with Transaction(self._db):
            self._delete_pages("project = ?", (project,))

    def totals(self) -> Totals:
        """The numbers and sizes of files and pages, and the counts."""
        files, oldest = self._db.execute("SELECT count(*), min(used_at) FROM blobs").fetchone()
        (pages,) = self._db.execute("SELECT count(*) FROM pages").fetchone()
        counts = dict(self._db.execute("SELECT name, value FROM counts"))
        hits, misses, saved = (counts.get(name, 0) for name in ("hits", "misses", "saved_bytes"))
        sizes = files, self._file_bytes(), pages, self._page_bytes()
        shared = {name: counts[name] for name in SHARED_COUNTS if name in counts}
        return Totals(*sizes, hits, misses, saved, oldest, **shared)
