"""Claims about `download_slots`: downloads leave connections for everything else, and wait in their order."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from proxy_client import PIP, UV, wait_until

from ppmproxy.config.model import Upstream
from ppmproxy.index.routing import ResourceKind, Target
from ppmproxy.server.download_slots import DownloadLimitError, DownloadSlots, is_download
from ppmproxy.server.upstream_state import Downloads
from ppmproxy.testing.package_manager import NoAnswer, wheel

PAGE = "/pypi/latest/simple/hello/"


@pytest.mark.parametrize(
    ("method", "kind", "name", "is_one"),
    [
        ("GET", ResourceKind.FILE, "hello-1.0.whl", True),
        ("GET", ResourceKind.FILE, "hello-1.0.whl?signature=.metadata", True),
        ("GET", ResourceKind.FILE, "hello-1.0.whl.metadata", False),
        ("HEAD", ResourceKind.FILE, "hello-1.0.whl", False),
        ("GET", ResourceKind.INDEX_PAGE, "hello/", False),
        ("GET", ResourceKind.API, "status", False),
        ("POST", ResourceKind.UPLOAD, "internal", False),
    ],
)
def test_only_files_are_downloads(method, kind, name, is_one):
    upstream = Upstream()

    assert is_download(method, Target(upstream, f"{upstream.url}/x/{name}", f"/x/{name}", kind, "x")) is is_one


@pytest.mark.parametrize(("max_connections", "limit"), [(1, 1), (2, 1), (5, 4), (50, 40), (51, 40)])
async def test_a_fifth_of_the_connections_is_not_for_downloads(max_connections, limit):
    reported = []
    slots = DownloadSlots(max_connections, reported.append)

    async with AsyncExitStack() as running:
        for _ in range(limit):
            await running.enter_async_context(slots.slot(60))
        one_more = asyncio.create_task(running.enter_async_context(slots.slot(60)))
        await asyncio.sleep(0)
        most = reported[-1]
        one_more.cancel()
        await asyncio.gather(one_more, return_exceptions=True)

    assert most == Downloads(limit, 1)
    assert reported[-1] == Downloads(0, 0)


async def test_downloads_wait_in_their_order_and_those_that_leave_take_no_place():
    slots, order = DownloadSlots(1), []

    async def download(name):
        async with slots.slot(60):
            order.append(name)
            await asyncio.sleep(0)

    async with slots.slot(60):
        waiting = [asyncio.create_task(download(name)) for name in "abc"]
        await asyncio.sleep(0)
        waiting[1].cancel()
        await asyncio.sleep(0)
    await asyncio.gather(*waiting, return_exceptions=True)

    assert order == ["a", "c"]
    assert slots._used == 0


async def test_slow_downloads_keep_no_page_waiting(package_manager, proxy):
    server = await package_manager()
    server.add(wheel("hello"))
    server.add_fault("*.whl", NoAnswer())
    running = await proxy(server, max_connections=5)
    paths = [f"/pypi/latest/packages/{number}/hello-{number}.0-py3-none-any.whl" for number in range(8)]
    downloads = [asyncio.create_task(running.get(path)) for path in paths]
    await wait_until(lambda: running.state.upstream("default").downloads == Downloads(4, 4))

    page = await asyncio.wait_for(running.get(PAGE), 5)
    status = (await running.get("/-/status")).json()["upstreams"][0]
    server.clear_faults()
    await asyncio.gather(*downloads)

    assert page.status == 200
    assert status["downloads"] == {"under_way": 4, "waiting": 4}
    assert running.state.upstream("default").downloads == Downloads(0, 0)


async def test_who_waits_in_vain_is_told_and_takes_no_place():
    slots = DownloadSlots(1)

    async with slots.slot(60):
        with pytest.raises(DownloadLimitError, match="1 other downloads are running"):
            async with slots.slot(0.01):
                pass
        next_one = asyncio.create_task(slots._acquire(60))
        await asyncio.sleep(0)
    await next_one

    assert slots._used == 1
    assert not slots._waiting


@pytest.mark.parametrize("user_agent", ["curl/8.5", PIP, UV])
async def test_a_download_waits_for_its_place_no_longer_than_for_the_upstream(package_manager, proxy, user_agent):
    server = await package_manager()
    server.add_fault("*.whl", NoAnswer())
    running = await proxy(server, max_connections=1, read_timeout=1.0)
    slots = running.daemon.services.sessions["default"].slots

    async with slots.slot(60):
        path = "/pypi/latest/packages/2/b-1.0-py3-none-any.whl"
        reply = await asyncio.wait_for(running.get(path, {"User-Agent": user_agent}), 8)

    assert (reply.status, reply.code) == (503, "too-many-downloads")
    assert "1 other downloads are running" in reply.json()["detail"]
    assert not server.requests
    assert running.state.upstream("default").answered_at is None


async def test_a_download_that_waits_for_others_says_so(package_manager, proxy, logs):
    server = await package_manager()
    server.add_fault("*.whl", NoAnswer())
    running = await proxy(server, max_connections=1)
    running.daemon.services.limits.max_hold = 0.05
    first = asyncio.create_task(running.get("/pypi/latest/packages/1/a-1.0-py3-none-any.whl"))
    await wait_until(lambda: server.requests)

    for _ in range(10):
        reply = await running.get("/pypi/latest/packages/2/b-1.0-py3-none-any.whl", {"User-Agent": PIP})
    server.clear_faults()
    await first

    assert (reply.status, reply.code) == (503, "too-many-downloads")
    assert "1 other downloads are running" in reply.json()["detail"]
    assert logs.requests[0]["detail"] == "waits for the end of other downloads"
    assert running.state.upstream("default").outage is None
