"""Claims about refusals: what was asked for before one gives no right after it, however late it is answered or kept."""

import asyncio
import os
import threading
from dataclasses import replace

import pytest
from proxy_client import wait_until

from ppmproxy.cache import rights, wheel_metadata
from ppmproxy.cache.rights import Refusals
from ppmproxy.testing.package_manager import CloseBeforeHead, NoAnswer, Stall, Status, jwt

ME, OTHER = b"me", b"another"
PAGES = "*/simple/*"


# --- which ones count ---


@pytest.mark.parametrize(
    ("refused", "is_refused"),
    [
        ((ME, "file"), True),
        ((ME, "page"), True),
        ((ME, ""), True),
        ((ME, "another file"), False),
        ((OTHER, "file"), False),
        ((OTHER, ""), False),
    ],
    ids=["the file", "its page", "everything", "another file", "another's file", "everything of another"],
)
def test_only_a_refusal_to_the_holder_of_what_the_right_rests_on_counts(refused, is_refused):
    refusals = Refusals()
    before = refusals.count

    refusals.record(*refused)

    assert refusals.has_since(before, ME, ["file", "page"]) is is_refused
    assert not refusals.has_since(refusals.count, ME, ["file", "page"])


def test_what_was_asked_for_before_a_refusal_that_is_forgotten_counts_as_refused(monkeypatch):
    monkeypatch.setattr(rights, "MOST_REFUSALS", 3)
    refusals = Refusals()
    before = []

    for number in range(10):
        before.append(refusals.count)
        refusals.record(OTHER, f"{number}")

    assert [refusals.has_since(count, ME, ["file"]) for count in before] == [True] * 7 + [False] * 3


# --- on the wire ---


def renew(it):
    """Have the daemon find another token of the same person, who has the same rights."""
    token = jwt({"sub": "alice", "scopes": ["repos:read"], "jti": os.urandom(8).hex()})
    it.server.accept_token(token)
    it.use(token)


@pytest.fixture
def cached_for_one(cached):
    """Starts both, for one person."""

    async def start(**options):
        it = await cached(**options)
        renew(it)
        return it

    return start


async def refuse_the_token(it, *, page=True):
    """Have the upstream refuse it from now on, and a request find that out."""
    it.server.add_fault(PAGES if page else it.path, Status(401))
    asked_anew = {"Cache-Control": "no-cache"}
    assert (await (it.page(**asked_anew) if page else it.get(**asked_anew))).status == 407


async def during_an_outage(it):
    """The statuses of file and page for a new token of the same holder, while there is no answer."""
    renew(it)
    it.server.add_fault("*", CloseBeforeHead())
    return [(await it.seen(page=page))[0] for page in (False, True)]


async def test_a_file_that_is_still_being_written(cached_for_one, monkeypatch):
    monkeypatch.setattr("ppmproxy.cache.blob_writer.QUIET", 60.0)
    monkeypatch.setattr("ppmproxy.cache.blob_writer.LONGEST", 60.0)
    it = await cached_for_one(payload=b"small")

    assert (await it.get()).status == 200
    await refuse_the_token(it)

    assert await during_an_outage(it) == [424, 424]


@pytest.mark.parametrize("is_reloaded", [False, True], ids=["", "by a daemon that has reloaded its settings"])
async def test_a_file_that_is_still_downloaded(cached_for_one, is_reloaded):
    it = await cached_for_one(payload=os.urandom(2_000_000))
    it.server.add_fault(it.path, Stall(500_000), times=1)
    downloading = asyncio.create_task(it.get())
    await wait_until(lambda: it.server.requests_for(it.path))
    downloads = it.cache.files.downloads

    if is_reloaded:
        settings = it.running.daemon.services.settings
        it.running.daemon.reload(replace(settings, upstreams=(replace(settings.upstreams[0], connect_timeout=9.0),)))
    await refuse_the_token(it)
    it.server.release()

    assert (await downloading).body == it.file.data
    await wait_until(lambda: len(downloads) == 0)  # and kept
    assert await during_an_outage(it) == [424, 424]


@pytest.mark.parametrize("status", [401, 403], ids=["the token is refused", "a file of it is refused"])
async def test_a_page_that_is_still_read(cached_for_one, status):
    it = await cached_for_one()
    it.server.add_fault(PAGES, Stall(100), times=1)
    reading = asyncio.create_task(it.page())
    await wait_until(lambda: it.server.requests)

    it.server.add_fault(it.path, Status(status))
    assert (await it.get()).status in {403, 407}
    it.server.release()

    assert (await reading).status == 200
    assert await during_an_outage(it) == [424, 424]


async def test_metadata_that_is_still_taken_out_of_its_wheel(cached_for_one, monkeypatch):
    it = await cached_for_one()
    await it.stored()
    has_begun, may_end = threading.Event(), threading.Event()

    def slowly(wheel, metadata_of=wheel_metadata.metadata_of):
        has_begun.set()
        may_end.wait(60)
        return metadata_of(wheel)

    monkeypatch.setattr(wheel_metadata, "metadata_of", slowly)
    asking = asyncio.create_task(it.running.get(f"{it.path}.metadata"))
    await wait_until(has_begun.is_set)

    await refuse_the_token(it)
    it.server.add_fault("*", CloseBeforeHead())
    may_end.set()

    assert (await asking).status == 424
    assert (await it.running.get(f"{it.path}.metadata")).status == 424


@pytest.mark.parametrize("page", [False, True], ids=["file", "page"])
async def test_what_the_catalog_is_still_asked_for(cached_for_one, page):
    first = await cached_for_one()
    await first.fill()
    await first.running.daemon.stop()
    it = await cached_for_one()
    await (it.get() if page else it.page())  # what is refused meanwhile needs no catalog
    catalog, may_answer = it.cache.state.store.catalog, threading.Event()
    catalog.later(lambda _catalog: may_answer.wait(60))
    await wait_until(lambda: not catalog._thread._work_queue.qsize())  # it has begun
    asking = asyncio.create_task(it.page() if page else it.get())
    await wait_until(catalog._thread._work_queue.qsize)  # its question waits

    await refuse_the_token(it, page=not page)
    it.server.add_fault("*", CloseBeforeHead())
    may_answer.set()

    assert (await asking).status == 424
    assert await during_an_outage(it) == [424, 424]


@pytest.mark.parametrize("page", [False, True], ids=["file", "page"])
async def test_what_the_upstream_is_still_waited_for(cached_for_one, page):
    it = await cached_for_one(cache_recheck=0.0, cache_pages_for=0.0)
    await it.fill()
    it.wait_for_answers()
    it.server.add_fault(PAGES if page else it.path, NoAnswer())
    asking = asyncio.create_task(it.page() if page else it.get())
    await wait_until(lambda: it.server.requests)

    await refuse_the_token(it, page=not page)
    it.server.add_fault("*", CloseBeforeHead())
    it.server.drop_connections()

    assert (await asking).status == 424


@pytest.mark.parametrize("page", [False, True], ids=["file", "page"])
async def test_a_refusal_that_comes_too_late_for_its_client_counts(cached_for_one, page, monkeypatch):
    it = await cached_for_one(cache_recheck=0.0, cache_pages_for=0.0)
    await it.fill()
    monkeypatch.setattr("ppmproxy.cache.outage.FIRST_TRY", 0.05)
    it.server.add_fault(PAGES if page else it.path, NoAnswer(), times=1)

    status, said, _ = await it.seen(page=page)
    it.server.revoke(it.token_file.read_text())
    it.server.release()
    await wait_until(lambda: it.cache.state.late._waiting is None)

    assert (status, said) == (200, "hit; detail=upstream-down")
    assert await during_an_outage(it) == [424, 424]


async def test_a_page_that_came_while_its_file_was_refused_ends_with_it(cached_for_one):
    it = await cached_for_one()
    it.server.add_fault(it.path, NoAnswer(), times=1)
    asking = asyncio.create_task(it.get())
    await wait_until(lambda: it.server.requests)

    page = await it.page()
    it.server.catalog.python.clear()
    it.server.release()

    assert (page.status, (await asking).status) == (200, 404)
    assert await during_an_outage(it) == [424, 424]


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refusal_of_the_question_about_a_file_counts_where_nothing_else_is_answered(cached_for_one, status):
    it = await cached_for_one(cache_recheck=0.0, cache_pages_for=0.0)
    await it.stored()
    it.server.add_fault("*", CloseBeforeHead())
    it.server.add_fault(lambda seen: seen.path == it.path and seen.header("If-None-Match"), Status(status))

    assert (await it.get()).status == 424
    assert await during_an_outage(it) == [424, 424]
