"""Claims about the catalog's thread: a database that another process holds, or a question that fails, stops nobody."""

import asyncio
import contextlib
import sqlite3
import time

import pytest
from cached_upstream import ACCEPT, word
from proxy_client import wait_until

from ppmproxy.cache.folder import CacheFolder
from ppmproxy.cache.store import Store
from ppmproxy.testing.package_manager import CloseBeforeHead, Status


async def test_a_database_that_another_process_has_locked_is_gone_without(cached, logs):
    it = await cached()
    await it.stored()
    other = sqlite3.connect(it.folder / "index.sqlite3", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    reply = await it.page(**{"Cache-Control": "no-cache"})
    file = await it.get()
    other.execute("ROLLBACK")
    other.close()
    later = await it.get()

    assert (reply.status, file.body, later.body) == (200, it.file.data, it.file.data)
    assert word(later) == "hit"
    assert len(logs.events("cache_unusable")) <= 1


@contextlib.contextmanager
def held(it):
    """The database, for as long as another process writes to it."""
    other = sqlite3.connect(it.folder / "index.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


async def test_a_database_that_another_process_holds_keeps_nobody_waiting_for_long(cached):
    it = await cached()
    await it.fill()
    paths = [f"/pypi/latest/simple/hello/?{number}" for number in range(12)]
    began = time.monotonic()

    with held(it):
        replies = [await it.running.get(path, ACCEPT) for path in paths]
        seconds = time.monotonic() - began
        trouble = it.cache.state.store.trouble.what

    assert {reply.status for reply in replies} == {200}
    assert seconds < 5.0
    assert "at the moment" in trouble
    began = time.monotonic()
    while it.cache.state.store.trouble.what and time.monotonic() < began + 10:
        await it.page()
        await asyncio.sleep(0.1)
    assert it.cache.state.store.trouble.what == ""


async def test_a_refusal_counts_though_another_process_held_the_database(cached):
    it = await cached(cache_recheck=0.0, cache_pages_for=0.0)
    await it.fill()
    it.server.add_fault("*/simple/*", Status(404))

    with held(it):
        refused = await it.page()
        await wait_until(lambda: it.cache.state.store.trouble.what)
    await it.running.daemon.stop()
    it.server.add_fault("*", CloseBeforeHead())
    again = await cached(cache_recheck=0.0, cache_pages_for=0.0)

    assert (refused.status, (await again.page()).status) == (404, 424)


@pytest.mark.parametrize(
    "error", [ValueError("odd"), sqlite3.ProgrammingError("odd"), RecursionError(), OSError("odd")]
)
async def test_an_error_in_one_question_does_not_end_the_use_of_the_cache(cached, logs, error):
    it = await cached()
    await it.fill()
    store = it.cache.state.store

    def fail(_catalog):
        raise error

    answer = await store.catalog.ask(fail)
    store.catalog.later(fail)
    store.catalog.soon(fail)

    assert answer is None
    assert (await it.seen())[1] == "hit"
    assert (store.trouble.what, logs.events("cache_unusable")) == ("", [])


async def test_a_database_that_is_locked_at_the_start_is_opened_later(tmp_path):
    clock = [0.0]
    folder = CacheFolder(tmp_path / "cache")
    first = Store(folder, 1 << 20)
    await first.open()
    await first.close()
    other = sqlite3.connect(folder.database, isolation_level=None)
    other.execute("PRAGMA journal_mode=DELETE")
    other.execute("BEGIN EXCLUSIVE")
    store = Store(folder, 1 << 20, clock=lambda: clock[0])

    opened = [await store.open(), await store.open()]
    other.execute("ROLLBACK")
    other.close()
    opened.append(await store.open())
    clock[0] = 11.0
    opened.append(await store.open())
    await store.close()

    assert opened == [False, False, False, True]
    assert store.trouble.what == ""
