"""Claims about index pages of any size: flat in memory, and nobody waits for them."""

import asyncio
import gc
import gzip
import json
import resource
import zlib
from pathlib import Path

import aiohttp
import pytest
from index_pages import page_answer
from proxy_client import JSON, UV, request_head, settled, wait_until

from ppmproxy.config.model import Upstream
from ppmproxy.index.link_map import LinkMap
from ppmproxy.index.page import LONGEST_TURN, SLICES, PageRequest, slice_after
from ppmproxy.index.rewriter import PageFormat
from ppmproxy.testing.package_manager import LinkStyle, wheel

PAGE = "/pypi/latest/simple/hello/"


ROOT = "/pypi/latest/simple/"


MIB = 1 << 20


STATM = Path("/proc/self/statm")


GZIP = {"Accept-Encoding": "gzip, deflate"}


async def read_and_drop(running, path, headers=None):
    """Read an answer without keeping it; how many bytes came, the first and the last ones, and the memory it took."""
    size, start, end = 0, b"", b""
    memory = Memory()
    patience = aiohttp.ClientTimeout(total=90)
    async with running.session.get(running.url + path, headers=headers, timeout=patience) as response:
        assert response.status == 200
        async for chunk in response.content.iter_any():
            size += len(chunk)
            start = (start + chunk)[:1000] if len(start) < 1000 else start
            end = (end + chunk)[-1000:]
            memory.look()
    return size, start, end, memory.grown


class Memory:
    """The most memory this process came to hold, over what it held at first; in bytes.

    Looked at for each chunk that arrives. `tracemalloc` would be exact, and thirty times slower.
    """

    def __init__(self):
        gc.collect()
        self._first = self._most = resident()

    def look(self):
        self._most = max(self._most, resident())

    @property
    def grown(self):
        return self._most - self._first


def resident():
    if not STATM.exists():
        pytest.skip("only Linux tells a process how much memory it holds")
    return int(STATM.read_text().split()[1]) * resource.getpagesize()


PROJECTS = 200_000


FLAT = 8 * MIB  # less than any of these pages


@pytest.mark.parametrize("accept", [JSON, "text/html"])
async def test_the_index_of_all_projects_streams(package_manager, proxy, accept):
    count = 2 * PROJECTS if accept == JSON else PROJECTS
    server = await package_manager(links=LinkStyle.ABSOLUTE, generated_projects=count)
    running = await proxy(server)
    await running.get(PAGE)

    size, start, end, grown = await read_and_drop(running, ROOT, {"Accept": accept})

    assert size > 10 * MIB
    assert grown < FLAT
    assert server.origin.encode() not in start + end
    assert f"project-{count - 1:07}".encode() in end


async def test_the_index_of_all_projects_streams_compressed_too(package_manager, proxy):
    server = await package_manager()
    count = PROJECTS // 2
    place, more = f"{server.url}/pypi/latest/simple", "x" * 100
    lines = (f'<a href="{place}/project-{n:07}/" data-more="{more}">project-{n:07}</a>\n' for n in range(count))
    body = gzip.compress("".join(["<!DOCTYPE html>\n", *lines]).encode(), 1)
    server.add_fault("*/simple/", page_answer(body, "text/html", ("Content-Encoding", "gzip")))
    running = await proxy(server)

    size, start, end, grown = await read_and_drop(running, ROOT, GZIP)

    assert size > 10 * MIB
    assert grown < FLAT
    assert b'href="/pypi/latest/simple/project-0000000/"' in start
    assert f'href="/pypi/latest/simple/project-{count - 1:07}/"'.encode() in end


@pytest.mark.parametrize("links", ["changed", "unchanged"])
async def test_a_compressed_bomb_stays_flat(package_manager, proxy, links):
    server = await package_manager()
    origin = server.url if links == "changed" else ""
    line = f'<a href="{origin}/pypi/latest/simple/project/" data-x="{"x" * 1000}">project</a>\n'.encode()
    squeeze = zlib.compressobj(6, wbits=31)
    piece = squeeze.compress(b"<!DOCTYPE html>\n")
    for _ in range(32):
        piece += squeeze.compress(line * (MIB // len(line)))
    bomb = piece + squeeze.flush()
    server.add_fault("*/simple/", page_answer(bomb, "text/html", ("Content-Encoding", "gzip")))
    running = await proxy(server)

    *_, grown = await read_and_drop(running, ROOT, GZIP)

    assert len(bomb) < MIB
    assert grown < FLAT


async def test_a_bomb_does_not_keep_others_waiting(package_manager, proxy):
    server = await package_manager()
    server.add(wheel("hello"))
    line = f'<a href="{server.url}/pypi/latest/simple/project/" data-x="{"x" * 1000}">project</a>\n'.encode()
    bomb = gzip.compress(b"<!DOCTYPE html>\n" + line * (128 * MIB // len(line)), 1)
    server.add_fault("*/simple/", page_answer(bomb, "text/html", ("Content-Encoding", "gzip")))
    running = await proxy(server)

    reading = asyncio.create_task(read_and_drop(running, ROOT, GZIP))
    await wait_until(lambda: running.state.in_flight == 1)
    started = asyncio.get_running_loop().time()
    await running.get("/-/live")
    waited = asyncio.get_running_loop().time() - started
    is_still_read = not reading.done()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)

    assert is_still_read
    assert waited < 8


async def test_others_have_their_turn_while_a_page_of_nothing_but_tags_is_read():
    upstream = Upstream(url="https://ppm.example.com")
    page = PageRequest(PageFormat.HTML, upstream.url + PAGE, PAGE, (), LinkMap(upstream))
    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    waiting = asyncio.create_task(other())
    rewritten = await page.reading().rewritten(b"<A>" * (MIB // 3))
    waiting.cancel()

    assert rewritten == b"<A>" * (MIB // 3)
    assert turns > 3


@pytest.mark.parametrize("seconds_per_mib", [0.001, 0.02, 0.1, 0.3, 0.45, 0.6, 1, 2])
def test_slices_grow_where_a_page_is_quick_and_never_to_more_than_a_turn(seconds_per_mib):
    sizes = [SLICES[0]]
    for _ in range(20):
        sizes.append(slice_after(sizes[-1], sizes[-1] * seconds_per_mib / MIB))

    assert max(sizes) * seconds_per_mib / MIB < LONGEST_TURN
    assert (sizes[-1] == SLICES[2]) == (seconds_per_mib < 0.03)
    assert slice_after(SLICES[2], LONGEST_TURN * 2) == SLICES[0]


async def test_a_file_is_never_held(package_manager, proxy):
    server = await package_manager(tls=False)
    file = server.add_large("big-1.0-py3-none-any.whl", 64 * MIB)
    running = await proxy(server)

    size, _, _, grown = await read_and_drop(running, f"/pypi/latest/packages/{file.id}/{file.filename}")

    assert size == 64 * MIB
    assert grown < FLAT


async def test_a_slow_reader_of_a_large_index_is_waited_for(package_manager, proxy):
    server = await package_manager(links=LinkStyle.ABSOLUTE, generated_projects=10 * PROJECTS)
    running = await proxy(server)

    async with running.connected() as (reader, writer):
        memory = Memory()
        writer.write(request_head(ROOT, "Accept: text/html"))
        await reader.readuntil(b"\r\n\r\n")
        sent = await settled(lambda: server.requests[-1].sent)
        memory.look()

        assert running.state.in_flight == 1
        assert sent < 100 * MIB  # of 200: the kernel's buffers on both sides grow to 70 where it is generous
    assert memory.grown < FLAT


async def test_a_page_too_large_to_be_checked_as_a_whole_still_passes(package_manager, proxy):
    server = await package_manager()
    files = [{"filename": f"hello-{n}.tar.gz", "url": f"hello-{n}.tar.gz", "hashes": {}} for n in range(30_000)]
    body = json.dumps({"meta": {"api-version": "1.0"}, "name": "hello", "files": files}).encode()
    server.add_fault("*", page_answer(body, JSON))
    running = await proxy(server)

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert reply.status == 200
    assert reply.json() == json.loads(body)
