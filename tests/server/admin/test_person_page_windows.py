"""Claims about open windows of the page: the live feed, and what they cost."""

import asyncio
import subprocess
import sys
import time

from page_reader import EVENTS, OWN, PAGE, TYPED, live_window, read_page
from proxy_client import DEADLINE, UV, request_head, wait_until
from proxy_client import PAGE as PROJECT

from ppmproxy.server.activity import MAX_REQUESTS
from ppmproxy.server.admin.live_feed import MAX_WINDOWS
from ppmproxy.server.request_record import RequestRecord

# --- the live feed ---


async def test_an_open_window_sees_a_request_that_comes(running):
    async with live_window(running) as next_message:
        first = await next_message()
        await running.get(PROJECT, {"User-Agent": UV})
        told = await next_message()
        while "hello" not in told["rows"]:  # sent while the request was under way
            told = await next_message()

    assert first["whole"]
    assert set(first["parts"]) == {"verdict", "upstream-0", "traffic"}
    assert not told["whole"]
    assert "hello" in told["rows"]
    assert "traffic" in told["parts"]


async def test_a_stopping_daemon_ends_the_windows_and_does_not_wait_for_them(server, proxy):
    running = await proxy(server, settings={"drain_timeout": DEADLINE})
    async with live_window(running) as next_message:
        await next_message()
        began = time.perf_counter()
        await running.daemon.stop()
        while await next_message() is not None:
            pass

    assert time.perf_counter() - began < 50


async def test_a_reload_ends_the_windows_so_that_the_old_services_are_closed(running):
    old = running.daemon.services
    async with live_window(running) as next_message:
        await next_message()
        running.daemon.reload(old.settings)
        while await next_message() is not None:
            pass
        await asyncio.wait_for(old.in_flight.wait_idle(), 5)

    async with live_window(running) as next_message:
        assert (await next_message())["whole"]


async def test_a_window_that_is_closed_leaves_nothing_behind(running):
    async with live_window(running) as next_message:
        await next_message()
        feed = running.daemon._dispatcher.person_page.feed
        assert len(feed) == 1

    await wait_until(lambda: len(feed) == 0)
    assert feed._renderings == {}


async def test_a_window_that_reads_nothing_is_closed(running):
    await running.get(PAGE, TYPED)
    page, state = running.daemon._dispatcher.person_page, running.daemon.services.state
    page.stall, page.feed._interval = 0.3, 0.0

    async with running.connected() as (_, writer):  # its reader takes a few kibibytes
        writer.write(request_head(EVENTS))
        await wait_until(lambda: len(page.feed) == 1)
        for number in range(100_000):
            path = f"/pypi/latest/simple/{number:0500}/"
            state.record_request(RequestRecord("GET", path, "default", "index", 200, user_agent=UV))
            if number % 100 == 0:
                await asyncio.sleep(0.001)
            if len(page.feed) == 0:
                break

        assert len(page.feed) == 0


async def test_a_window_too_many_is_told_so(running):
    await running.get(PAGE, TYPED)
    running.daemon._dispatcher.person_page.feed._windows = MAX_WINDOWS

    reply = await running.get(EVENTS, OWN)
    running.daemon._dispatcher.person_page.feed._windows = 0

    assert (reply.status, reply.code) == (503, "too-many-connections")


async def test_a_head_request_for_the_events_sends_none(running):
    assert (await running.ask("HEAD", EVENTS)).status == 404


# --- numbers ---


async def full_of_requests(running):
    for number in range(MAX_REQUESTS):
        path = PROJECT if number % 2 else f"/a%2f{number}"
        await running.get(path, {"User-Agent": f"{UV} ({number})"})


async def test_a_page_of_two_hundred_requests_takes_no_more_than_fifty_milliseconds(running):
    await full_of_requests(running)
    page = await read_page(running)
    times = []
    for _ in range(10):
        began = time.process_time()  # the client's part and the daemon's: a busy machine does not count
        await running.get(PAGE, TYPED)
        times.append(time.process_time() - began)

    assert len(page.rows) == MAX_REQUESTS
    assert min(times) <= 0.05, times


def test_nothing_of_the_page_is_loaded_before_it_is_asked_for():
    program = (
        "import sys, ppmproxy.server.daemon, ppmproxy.cli.run\n"
        "print([name for name in sys.modules if name.startswith(('ppmproxy.server.admin.', 'segno'))])"
    )

    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=120)

    assert done.stdout.strip() == "['ppmproxy.server.admin.routes']"


async def test_a_daemon_that_serves_installers_has_not_loaded_the_page(running):
    await running.get(PROJECT, {"User-Agent": UV})
    await running.get("/-/status")

    assert running.daemon._dispatcher.person_page is None
