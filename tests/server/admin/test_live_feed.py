"""Claims about the live feed: a window is sent what has changed, once, and rendering is shared."""

import asyncio
import contextlib
import gc
import json
import os
import tracemalloc
from dataclasses import replace

import pytest

from ppmproxy.config.model import Upstream
from ppmproxy.server.admin.live_feed import MAX_WINDOWS, RETRY, SIGN_OF_LIFE, LiveFeed, TooManyWindowsError
from ppmproxy.server.admin.view import UpstreamView, View
from ppmproxy.server.request_record import RequestRecord
from ppmproxy.server.state import State

PATH = "/pypi/latest/simple/hello/"
LOOKS = int(os.environ.get("PPMPROXY_PAGE_LOOKS", "21"))  # with 1600, of `make test-browser`, an hour's


class Feed:
    """A feed of a state, and how often the state was looked at."""

    def __init__(self, interval=0.0, masked=str):
        self.state, self.looks, self.now = State(0.0), [], 1_700_000_000.0
        self.state.now = lambda: self.now
        self.feed = LiveFeed(self.look, masked, "start", interval)

    def look(self, can_act):
        self.looks.append(can_act)
        upstream = UpstreamView(Upstream(), self.state.upstream("default").snapshot(), "")
        return View(self.now, self.state.snapshot(), (upstream,), {"kept": True}, "", "1", can_act)

    def record(self, path=PATH):
        self.state.record_request(RequestRecord("GET", path, "default", "index", 200))

    @contextlib.asynccontextmanager
    async def window(self, *, can_act=True):
        async with contextlib.aclosing(self.feed.messages(can_act=can_act)) as messages:
            assert await anext(messages) == RETRY
            yield lambda: asyncio.wait_for(anext(messages), 60)


def told(message):
    return json.loads(message.removeprefix(b"data: "))


async def test_the_first_message_has_everything_and_the_next_what_has_changed():
    feed = Feed()
    feed.record()
    async with feed.window() as next_message:
        first = told(await next_message())
        feed.record("/pypi/latest/simple/other/")
        second = told(await next_message())

    assert set(first["parts"]) == {"verdict", "upstream-0", "traffic"}
    assert (first["whole"], "hello" in first["rows"]) == (True, True)
    assert set(second["parts"]) == {"traffic"}
    assert (second["whole"], "other" in second["rows"], "hello" in second["rows"]) == (False, True, False)


async def test_nothing_is_sent_while_nothing_changes_but_a_sign_of_life():
    feed = Feed()
    async with feed.window() as next_message:
        await next_message()
        second = await next_message()

    assert second == b":\n\n"
    assert len(feed.looks) == 1 + SIGN_OF_LIFE


async def test_ten_windows_share_one_rendering():
    feed = Feed(interval=60.0)
    async with contextlib.AsyncExitStack() as stack:
        windows = [await stack.enter_async_context(feed.window()) for _ in range(10)]
        messages = {await next_message() for next_message in windows}

    assert (len(messages), len(feed.looks)) == (1, 1)


async def test_who_may_act_and_who_may_not_are_rendered_apart():
    feed = Feed(interval=60.0)
    async with feed.window(can_act=True) as one, feed.window(can_act=False) as other:
        await one()
        await other()

    assert sorted(feed.looks) == [False, True]


async def test_a_window_that_was_away_gets_the_newest_requests_and_no_queue():
    feed = Feed()
    async with feed.window() as next_message:
        await next_message()
        for number in range(1000):
            feed.record(f"/pypi/latest/simple/p{number}/")
        missed = told(await next_message())

    assert missed["rows"].count("<tr ") == 200
    assert "/p999/" in missed["rows"]


async def test_secrets_are_masked_in_parts_and_rows():
    feed = Feed(masked=lambda text: text.replace("hello", "****"))
    feed.record()
    feed.state.upstream("default").record_failure(1.0, "hello is down")
    async with feed.window() as next_message:
        message = await next_message()

    assert b"hello" not in message
    assert message.count(b"****") > 2


async def test_the_end_of_the_feed_ends_its_windows_and_not_later_ones():
    feed = Feed(interval=60.0)
    async with feed.window() as next_message:
        await next_message()
        waiting = asyncio.create_task(next_message())
        await asyncio.sleep(0)
        feed.feed.end()
        with pytest.raises(StopAsyncIteration):
            await waiting
    async with feed.window() as next_message:
        assert told(await next_message())["whole"]


async def test_there_are_no_more_windows_than_so_many():
    feed = Feed(interval=60.0)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(MAX_WINDOWS):
            await stack.enter_async_context(feed.window())
        with pytest.raises(TooManyWindowsError):
            await anext(feed.feed.messages(can_act=True))

    assert len(feed.feed) == 0


@pytest.mark.timeout(0)  # the number of looks is its bound: each has a deadline, and a busy machine is no fault
async def test_ten_windows_for_an_hour_keep_memory_flat():
    """Time in fast-forward: so many looks at the state and ten windows, with requests in between, twice."""
    feed = Feed()

    async def window(number, looks):
        async with feed.window(can_act=bool(number % 2)) as next_message:
            for _ in range(looks):
                await next_message()

    async def run_windows(looks):
        windows = asyncio.gather(*(window(number, looks) for number in range(10)))
        while not windows.done():
            feed.record()
            await asyncio.sleep(0)
        await windows
        feed.looks.clear()

    tracemalloc.start()
    try:
        sizes = []
        for looks in (LOOKS // 3, LOOKS, LOOKS):
            await run_windows(looks)
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()

    assert len(feed.feed) == 0
    assert sizes[2] - sizes[1] < 100_000, sizes


def test_a_view_is_not_changed_by_what_comes_later():
    feed = Feed()
    view = feed.look(can_act=True)

    feed.record()

    assert view.state.requests == 0
    assert replace(view) == view
