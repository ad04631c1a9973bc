"""The SQLite database of the catalog: its tables, their version, and transactions among several processes (WAL)."""

from __future__ import annotations

import sqlite3
from pathlib import Path

VERSION = 1  # of the tables
BUSY_TIMEOUT = 1.0  # seconds that another process may hold the database

_TABLES = """
CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE pages (
    id INTEGER PRIMARY KEY, holder BLOB NOT NULL, url TEXT NOT NULL, form TEXT NOT NULL,
    upstream TEXT NOT NULL, project TEXT NOT NULL, head TEXT NOT NULL, body BLOB NOT NULL,
    proved_at REAL NOT NULL, UNIQUE (holder, url, form)
);
CREATE INDEX pages_by_project ON pages (upstream, project);
CREATE TABLE names (page INTEGER NOT NULL, url TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (page, url))
    WITHOUT ROWID;
CREATE INDEX names_by_url ON names (url);
CREATE TABLE blobs (digest TEXT PRIMARY KEY, size INTEGER NOT NULL, used_at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX blobs_by_use ON blobs (used_at, size, digest);
CREATE TABLE urls (
    holder BLOB NOT NULL, url TEXT NOT NULL, variant TEXT NOT NULL, digest TEXT NOT NULL, head TEXT NOT NULL,
    proved_at REAL NOT NULL, PRIMARY KEY (holder, url, variant)
) WITHOUT ROWID;
CREATE TABLE storages (upstream TEXT NOT NULL, origin TEXT NOT NULL, PRIMARY KEY (upstream, origin)) WITHOUT ROWID;
CREATE TABLE counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


class NewerCatalogError(sqlite3.DatabaseError):
    """The database was written by a later version of this program."""


def open_database(path: Path) -> sqlite3.Connection:
    """The database, made where it is not there; `sqlite3.Error`, `NewerCatalogError`."""
    database = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    try:
        _set_up(database)
    except BaseException:
        database.close()
        raise
    return database


def _set_up(database: sqlite3.Connection) -> None:
    version = _version_of(database)
    if version > VERSION:
        raise NewerCatalogError(f"it has version {version}, and this program knows {VERSION}")
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    database.execute("PRAGMA cache_size=-2048")
    if version < VERSION:
        with Transaction(database):
            if _version_of(database) < VERSION:  # another process may just have made the tables
                for statement in filter(str.strip, _TABLES.split(";")):
                    database.execute(statement)
                database.execute(f"PRAGMA user_version={VERSION}")


def _version_of(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


class Transaction:
    """All or nothing, and the right to write from the beginning, so that no other process gets in between.

    One within another is a part of it.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database
        self._is_outermost = not database.in_transaction

    def __enter__(self) -> None:
        if self._is_outermost:
            self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        if self._is_outermost and self._db.in_transaction:
            self._db.execute("ROLLBACK" if kind else "COMMIT")
