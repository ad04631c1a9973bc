"""Claims about an upstream that gives no answer, and about offline: who gets what is here."""

import asyncio
import contextlib
import gc
import time

import pytest
from cached_upstream import word
from proxy_client import wait_until

from ppmproxy.cache.outage import FIRST_TRY, LateAnswer, OutageMemory
from ppmproxy.errors import UpstreamUnreachableError
from ppmproxy.testing.package_manager import CloseBeforeHead, Delay, NoAnswer, Status, wheel

DOWN = "hit; detail=upstream-down"
SILENT = [CloseBeforeHead(), CloseBeforeHead(reset=True), Status(500), Status(503), NoAnswer()]


@pytest.mark.parametrize("fault", SILENT, ids=repr)
async def test_the_last_good_page_and_its_file_go_on(cached, fault, logs):
    it = await cached(cache_recheck=0.0, cache_pages_for=0.0)
    await it.fill()
    it.server.add_fault("*", fault)

    page, file = await it.page(), await it.seen()
    it.server.release()

    assert page.status == 200
    assert page.headers["Cache-Status"] == f"ppmproxy; {DOWN}"
    assert file[:2] == (200, DOWN)
    assert logs.requests[-1]["cache"] == DOWN
    assert it.running.state.upstream("default").outage is not None


async def test_nobody_waits_twice(cached):
    it = await cached(cache_recheck=0.0, cache_pages_for=0.0, read_timeout=60.0)
    await it.fill()
    it.server.add_fault("*", NoAnswer())
    started = time.monotonic()
    first = await it.seen(page=True)
    waited = time.monotonic() - started

    others = [await it.seen(), await it.seen(page=True)]
    it.server.release()

    assert first[:2] == (200, DOWN)
    assert 1.5 < waited < 15.0
    assert others == [(200, DOWN, 0), (200, DOWN, 0)]


async def test_it_goes_on_after_a_restart_of_the_daemon(cached):
    it = await cached(cache_recheck=0.0, cache_pages_for=0.0)
    await it.fill()
    await it.running.daemon.stop()
    it.server.add_fault("*", CloseBeforeHead())

    again = await cached(cache_recheck=0.0, cache_pages_for=0.0)

    assert [(await again.seen(page=page))[:2] for page in (True, False)] == [(200, DOWN), (200, DOWN)]


async def test_nobody_else_has_a_stale_right(cached):
    it = await cached(cache_recheck=0.0, cache_pages_for=0.0)
    await it.fill()
    it.use(it.server.issue_token())
    it.server.add_fault("*", CloseBeforeHead())

    assert [(await it.seen(page=page))[0] for page in (True, False)] == [424, 424]


@pytest.mark.parametrize(("days", "status"), [(-7, 200), (-0.5, 200), (0, 200), (6.9, 200), (7.1, 424), (14, 424)])
async def test_what_is_too_old_is_not_sent_and_a_clock_set_back_does_no_harm(cached, days, status):
    it = await cached(cache_recheck=0.0, cache_pages_for=0.0)
    await it.fill()
    it.cache.state.wall = lambda: time.time() + days * 86400
    it.server.add_fault("*", CloseBeforeHead())

    assert [(await it.seen(page=page))[0] for page in (True, False)] == [status, status]


async def test_a_page_that_is_confirmed_renews_the_right_to_its_files(cached):
    it = await cached(cache_recheck=0.0, cache_pages_for=0.0)
    await it.fill()

    it.cache.state.wall = lambda: time.time() + 8 * 86400
    confirmed = await it.seen(page=True)
    it.server.add_fault("*", CloseBeforeHead())

    assert confirmed == (200, "fwd=stale; fwd-status=304", 1)
    assert (await it.seen())[:2] == (200, DOWN)


async def test_a_file_that_is_confirmed_renews_the_right_to_it(cached):
    it = await cached(cache_recheck=0.0)
    await it.stored()
    await it.get()  # as it is kept, its row is in memory

    it.cache.state.wall = lambda: time.time() + 8 * 86400
    confirmed = await it.seen()
    it.server.add_fault("*", CloseBeforeHead())

    assert confirmed == (200, "fwd=stale; fwd-status=304", 1)
    assert (await it.seen())[:2] == (200, DOWN)


async def test_a_clock_that_jumps_a_week_changes_nothing_of_a_fresh_proof(cached):
    it = await cached()
    await it.fill()

    found = []
    for days in (-7, 7, 0):
        it.cache.state.wall = lambda days=days: time.time() + days * 86400
        found += [await it.seen(), await it.seen(page=True)]

    assert found == [(200, "hit", 0)] * 6


async def test_cache_stale_for_0_never_sends_what_is_old(cached):
    it = await cached(cache_recheck=0.0, cache_pages_for=0.0, cache_stale_for=0.0)
    await it.fill()
    it.server.add_fault("*", CloseBeforeHead())

    assert [(await it.seen(page=page))[0] for page in (True, False)] == [424, 424]


async def test_a_late_refusal_of_a_connection_is_not_logged_by_asyncio(caplog):
    """The second answer is given up in the moment in which its connection is refused; both have waited in vain."""
    late = LateAnswer(OutageMemory(lambda: 0.0), lambda: 0.0)
    refused = asyncio.Event()

    @contextlib.asynccontextmanager
    async def answer():
        try:
            await asyncio.wait_for(refused.wait(), 60)
        except asyncio.CancelledError:
            raise UpstreamUnreachableError("the connection is refused", "try again") from None
        yield None

    async def is_late():
        try:
            async with contextlib.AsyncExitStack() as stack:
                await late.soon(stack, answer(), lambda _answer: None)
        except asyncio.TimeoutError:
            return True

    assert await asyncio.gather(is_late(), is_late()) == [True, True]
    await late.close()
    gc.collect()

    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


async def test_an_outage_that_is_over_is_forgotten(cached):
    it = await cached(cache_recheck=0.0, cache_pages_for=0.0)
    now = [1000.0]
    it.cache.state.outage._clock = lambda: now[0]
    await it.fill()
    it.server.add_fault("*", Status(503))
    during = await it.seen()
    it.server.clear_faults()
    now[0] += 10.0

    after = await it.seen()

    assert (during[1], after[1]) == (DOWN, "fwd=stale; fwd-status=304")


async def test_offline_sends_what_is_here_and_no_request(cached):
    it = await cached()
    await it.fill()
    await it.running.daemon.stop()
    again = await cached(offline=True, cache_stale_for=0.0)
    again.cache.state.wall = lambda: time.time() + 10_000 * 86400

    found = [await again.seen(page=page) for page in (True, False)]

    assert found == [(200, "hit; detail=offline", 0)] * 2


async def test_offline_says_what_is_missing(cached):
    it = await cached(offline=True)

    page, file, api = await it.page(), await it.get(), await it.running.get("/__api__/status")

    assert [reply.status for reply in (page, file, api)] == [424] * 3
    assert "is not in the cache" in file.json()["detail"]
    assert it.server.requests == []


async def test_offline_nobody_else_gets_anything(cached):
    it = await cached()
    await it.fill()
    await it.running.daemon.stop()
    again = await cached(offline=True)
    again.use(it.server.issue_token())

    assert [(await again.seen(page=page))[0] for page in (True, False)] == [424, 424]


async def test_a_slow_upstream_is_no_outage_for_long(cached):
    it = await cached(cache_pages_for=0.0, read_timeout=20.0)
    await it.fill()
    it.server.add(wheel("hello", "2.0"))
    it.server.add_fault("*/simple/*", Delay(2.2))

    first = await it.page()
    await wait_until(lambda: not it.cache.state.outage.why)
    second = await it.page()

    assert (word(first), b"2.0" in first.body) == ("hit; detail=upstream-down", False)
    assert (word(second), b"2.0" in second.body) == ("fwd=stale; fwd-status=200; stored", True)


async def test_a_silent_upstream_is_waited_for_by_one_request_that_ends_with_the_daemon(cached):
    it = await cached(cache_pages_for=0.0, read_timeout=20.0)
    await it.fill()
    it.server.add_fault("*/simple/*", NoAnswer())

    replies = await asyncio.gather(*(it.page() for _ in range(3)))
    waiting = it.cache.state.late._waiting
    await it.running.daemon.stop()

    assert waiting.cancelled()
    assert {word(reply) for reply in replies} == {"hit; detail=upstream-down"}


def test_who_waits_knows_how_long_a_slow_upstream_takes_for_ten_minutes():
    now = [0.0]
    outage = OutageMemory(lambda: now[0])
    outage.record("no answer")

    outage.record_slow(3.0)
    outage.record_slow(2.5)

    assert (outage.why, outage.patience) == ("", 6.0)
    now[0] = 600.0
    assert outage.patience == FIRST_TRY
    outage.record_slow(2.5)
    assert outage.patience == 5.0
