"""Claims about the page's part on the cache: its numbers are those of status and of `ppmproxy cache info`."""

import pytest
from page_reader import live_window, read_page
from proxy_client import PAGE, UV

from ppmproxy.cache.catalog_rows import Totals
from ppmproxy.server.admin.cache_section import cache_section
from ppmproxy.server.admin.view import CacheView, View
from ppmproxy.server.state import Snapshot
from ppmproxy.testing.package_manager import wheel


@pytest.fixture
async def running(package_manager, proxy, tmp_path):
    server = await package_manager()
    server.add(wheel("hello"))
    return await proxy(server, cache=True, settings={"cache_dir": tmp_path / "cache"})


async def test_hits_misses_and_size_are_on_the_page(running):
    for _ in range(3):
        await running.get(PAGE, {"User-Agent": UV})
    page = await read_page(running)
    totals = running.daemon.services.store.totals

    names = ("hit", "revalidated", "miss", "size", "saved")
    assert [page.numbers[f"cache-{name}"] for name in names] == [2, 0, 1, totals.size, totals.saved_bytes]
    assert totals.saved_bytes > 0 < totals.size
    assert "in use, of 2.0 GiB" in page.by_id["cache"]


async def test_each_request_of_the_list_has_the_word_of_the_cache_and_is_found_by_it(running):
    for _ in range(2):
        await running.get(PAGE, {"User-Agent": UV})
    await running.get("/a%2fb", {"User-Agent": UV})

    assert [row[5] for row in (await read_page(running)).rows] == ["", "hit", "miss"]
    assert [row[5] for row in (await read_page(running, "/-/?q=miss")).rows] == ["miss"]


async def test_an_open_window_gets_the_new_numbers(running):
    async with live_window(running) as next_message:
        assert "cache-size" not in (await next_message())["parts"]["cache"]  # nothing has used it so far
        await running.get(PAGE, {"User-Agent": UV})
        parts = {}
        while "cache-size" not in parts.get("cache", ""):
            parts = (await next_message())["parts"]

    assert 'id="cache-miss" data-number="1"' in parts["cache"]


async def test_without_a_cache_the_page_has_no_such_part(package_manager, proxy):
    page = await read_page(await proxy(await package_manager()))

    assert "cache" not in page.by_id


def test_rare_results_are_shown_only_where_there_are_any():
    view = View(0.0, Snapshot(0.0, by_cache={"stale": 4}), (), {}, "", "1", can_act=False)
    cache = CacheView(Totals(1, 1 << 20, 0, 0, 0, 0, 3 << 30, None), 2 << 30)

    shown = cache_section(view, cache)

    assert '<dt>sent during an outage</dt><dd id="cache-stale" data-number="4">4</dd>' in shown
    assert "cache-offline" not in shown
    assert "3.0 GiB" in shown
