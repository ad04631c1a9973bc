"""Claims about the cache in front of an upstream: what is asked, and what is sent."""

import asyncio
import os
import threading
import time

import pytest
from cached_upstream import word
from proxy_client import JSON, PAGE, PIP, request_head, status_of, wait_until

from ppmproxy.testing.package_manager import Delay, NoAnswer, Status


async def test_a_file_is_fetched_once(cached):
    it = await cached()

    replies = [await it.get() for _ in range(3)]

    assert [reply.body for reply in replies] == [it.file.data] * 3
    assert len(it.server.requests_for(it.path)) == 1


async def test_a_file_that_its_page_names_is_a_hit_without_a_request(cached, logs):
    it = await cached()
    await it.page()
    first = await it.get()
    it.server.clear()

    reply = await it.get()

    assert (first.status, reply.status, reply.body) == (200, 200, it.file.data)
    assert (word(first), word(reply)) == ("fwd=uri-miss; stored", "hit")
    assert it.server.requests == []
    assert reply.headers["Cache-Control"] == "max-age=31536000, immutable"
    assert logs.requests[-1]["cache"] == "hit"


async def test_metadata_is_kept_too(cached):
    it = await cached()
    await it.page()
    first = await it.running.get(f"{it.path}.metadata")

    second = await it.running.get(f"{it.path}.metadata")

    assert (word(first), word(second)) == ("fwd=uri-miss; stored", "hit")
    assert first.body == second.body
    assert b"Name: hello" in second.body


async def test_a_page_is_a_hit_while_it_is_fresh(cached):
    it = await cached()

    first, second = await it.page(), await it.page()

    assert (first.status, first.json()) == (200, second.json())
    assert (word(first), word(second)) == ("fwd=uri-miss; stored", "hit")
    assert len(it.server.requests) == 1


async def test_pip_s_max_age_0_is_a_hit_and_no_cache_asks_the_upstream(cached):
    it = await cached()
    await it.page()

    with_max_age = await it.page(**{"Cache-Control": "max-age=0"})
    with_no_cache = await it.page(**{"Cache-Control": "no-cache"})

    assert (word(with_max_age), word(with_no_cache)) == ("hit", "fwd=stale; fwd-status=304")


async def test_a_page_that_is_no_longer_fresh_is_revalidated(cached):
    it = await cached(cache_pages_for=0.0)
    first = await it.page()

    second = await it.page()

    assert word(second) == "fwd=stale; fwd-status=304"
    assert second.body == first.body
    assert [seen.status for seen in it.server.requests] == [200, 304]


async def test_a_page_s_own_cache_control_counts(cached):
    it = await cached(options={"page_cache_control": "max-age=0"})
    await it.page()

    reply = await it.page()

    assert word(reply) == "fwd=stale; fwd-status=304"


@pytest.mark.parametrize(("cache_control", "most_requests"), [("no-store", 8), ("no-cache", 1), ("max-age=0", 1)])
@pytest.mark.parametrize("asks", [{}, {"Cache-Control": "no-cache"}], ids=["any", "upstream's own"])
async def test_clients_that_ask_at_once_wait_no_longer_than_two_requests_take(
    cached, cache_control, most_requests, asks
):
    it = await cached(options={"page_cache_control": cache_control}, read_timeout=60.0)
    it.server.add_fault("*/simple/*", NoAnswer(), times=1)
    asking = [asyncio.create_task(it.page(**asks)) for _ in range(8)]
    await wait_until(lambda: _waiting(it) == 7 and it.server.requests)
    it.server.add_fault("*/simple/*", Delay(2.0))
    began = time.monotonic()
    it.server.release()

    replies = await asyncio.gather(*asking)

    assert {reply.status for reply in replies} == {200}
    assert len(it.server.requests) <= most_requests
    assert time.monotonic() - began < 12.0  # one after another would take fourteen seconds


async def test_a_client_that_leaves_does_not_take_the_others_along(cached):
    it = await cached(read_timeout=60.0)
    it.server.add_fault("*/simple/*", NoAnswer(), times=1)
    first = asyncio.create_task(it.page())
    await wait_until(lambda: it.server.requests)
    others = [asyncio.create_task(it.page()) for _ in range(5)]
    await wait_until(lambda: _waiting(it) == 5)

    first.cancel()
    replies = await asyncio.gather(*others)

    assert {reply.status for reply in replies} == {200}
    assert len(it.server.requests) == 2


def _waiting(it):
    """The requests that wait for the answer to another one's, which counts as forwarded before it waits."""
    return sum(len(asking._callbacks or ()) for asking in it.cache.pages._asking.values())


async def test_a_page_that_comes_while_the_catalog_is_asked_for_it_is_not_fetched_again(cached):
    it = await cached(read_timeout=60.0)
    it.server.add_fault("*/simple/*", NoAnswer())
    first = asyncio.create_task(it.page())
    await wait_until(lambda: it.server.requests)
    catalog, may_answer = it.cache.state.store.catalog, threading.Event()
    catalog.later(lambda _catalog: may_answer.wait(60))
    await wait_until(lambda: not catalog._thread._work_queue.qsize())  # it has begun
    second = asyncio.create_task(it.page())
    await wait_until(catalog._thread._work_queue.qsize)  # its question waits

    it.server.clear_faults()
    replies = [await first]
    may_answer.set()
    replies.append(await second)

    assert [reply.status for reply in replies] == [200, 200]
    assert len(it.server.requests) == 1


async def test_a_page_with_no_store_is_not_kept(cached):
    it = await cached(options={"page_cache_control": "no-store"})
    await it.page()

    reply = await it.page()

    assert word(reply) == "fwd=uri-miss"
    assert len(it.server.requests) == 2


async def test_a_client_that_has_the_page_gets_304_from_here(cached):
    it = await cached()
    etag = (await it.page()).headers["ETag"]
    it.server.clear()

    reply = await it.page(**{"If-None-Match": etag})

    assert (reply.status, reply.body, reply.headers["ETag"]) == (304, b"", etag)
    assert it.server.requests == []


async def test_each_form_of_a_page_is_kept_by_itself(cached):
    it = await cached()
    html = {"Accept": "text/html", "User-Agent": PIP}
    for headers in (html, {"Accept": JSON}):
        await it.running.get(PAGE, headers)

    replies = [await it.running.get(PAGE, headers) for headers in (html, {"Accept": JSON})]

    types = [reply.headers["Content-Type"].partition(";")[0] for reply in replies]
    assert (types, [word(reply) for reply in replies]) == (["text/html", JSON], ["hit", "hit"])
    assert len(it.server.requests) == 2


async def test_an_upload_has_pages_asked_for_anew(cached):
    it = await cached(uploads=True, options={"scopes": ("repos:read", "sources:write")})
    await it.page()

    upload = await it.running.ask("POST", "/upload/pypi/internal", {"Content-Type": "text/plain"}, data=b"x")
    it.server.clear()
    await it.page()

    assert upload.status in {200, 400} or upload.code
    assert len(it.server.requests) == (1 if upload.status == 200 else 0)


async def test_hits_are_answered_with_ranges_and_conditions(cached):
    it = await cached()
    await it.fill()
    whole = await it.get()
    etag = whole.headers["ETag"]

    part = await it.get(Range="bytes=10-19")
    end = await it.get(Range="bytes=-7")
    beyond = await it.get(Range="bytes=99999999-")
    known = await it.get(**{"If-None-Match": etag})
    same = await it.get(Range="bytes=5-", **{"If-Range": etag})
    other = await it.get(Range="bytes=5-", **{"If-Range": '"another"'})

    size = len(it.file.data)
    assert (part.status, part.body, part.headers["Content-Range"]) == (206, it.file.data[10:20], f"bytes 10-19/{size}")
    assert (end.status, end.body) == (206, it.file.data[-7:])
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{size}")
    assert (known.status, known.body, known.headers["ETag"]) == (304, b"", etag)
    assert (same.status, same.body) == (206, it.file.data[5:])
    assert (other.status, other.body) == (200, it.file.data)
    assert it.server.requests == []


async def test_head_of_a_kept_file_is_a_hit(cached):
    it = await cached()
    await it.fill()

    reply = await it.running.ask("HEAD", it.path)

    assert (reply.status, reply.body, word(reply)) == (200, b"", "hit")
    assert int(reply.headers["Content-Length"]) == len(it.file.data)


async def test_a_large_file_goes_out_whole(cached):
    it = await cached(payload=os.urandom(10_000_000), read_timeout=15.0)
    await it.fill()

    reply = await it.get()

    assert (word(reply), reply.body) == ("hit", it.file.data)


async def test_the_api_and_what_is_no_file_is_passed_on(cached):
    it = await cached()

    replies = [await it.running.get("/__api__/status") for _ in range(2)]

    assert {word(reply) for reply in replies} == {"fwd=bypass"}
    assert len(it.server.requests) == 2


async def test_a_404_is_passed_on_and_not_kept(cached):
    it = await cached()
    it.server.add_fault("*", Status(404, body=b"nothing here"))

    replies = [await it.get() for _ in range(2)]

    assert [(reply.status, reply.body) for reply in replies] == [(404, b"nothing here")] * 2
    assert word(replies[1]) == "fwd=uri-miss; detail=not-stored"


async def test_a_path_that_is_not_utf_8_does_not_end_the_cache(cached):
    it = await cached()
    await it.fill()

    reply = await it.running.get(it.path.replace("hello", "hello%ff"))

    assert reply.status == 404
    assert word(await it.get()) == "hit"


@pytest.mark.parametrize("header", ["Accept: text/html\udcff", "User-Agent: x\udcff", "Accept: a\udced\udca0\udc80"])
@pytest.mark.parametrize("path", [PAGE, f"{PAGE}hello-1.0.tar.gz"])
async def test_a_header_that_is_not_utf_8_does_not_end_the_cache(cached, header, path):
    it = await cached()
    await it.fill()

    received = await it.running.raw(request_head(path, header))

    assert status_of(received) in {200, 404, 406}
    assert word(await it.get()) == "hit"
    assert it.cache.state.store.trouble.what == ""


@pytest.mark.parametrize(
    "date", ["Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "Mon, 01 Jan 2026 00:00:00 +99999999999999999999"]
)
async def test_a_date_that_no_clock_has_is_no_condition(cached, date):
    it = await cached()
    await it.fill()

    page, file = await it.page(**{"If-Modified-Since": date}), await it.get(**{"If-Modified-Since": date})

    assert (page.status, file.status, file.body) == (200, 200, it.file.data)


async def test_a_file_without_a_hash_is_kept_and_revalidated(cached):
    it = await cached(cache_pages_for=0.0)
    first = await it.get()

    second = await it.get()

    assert (word(first), word(second)) == ("fwd=uri-miss; stored", "fwd=stale; fwd-status=304")
    assert second.body == it.file.data


async def test_without_a_cache_nothing_says_what_it_did(cached):
    it = await cached(cache=False)

    replies = [await it.get() for _ in range(2)]

    assert all("Cache-Status" not in reply.headers for reply in replies)
    assert not it.folder.exists()


async def test_status_counts_what_the_cache_did(cached):
    it = await cached(cache_recheck=600.0, cache_pages_for=0.0)
    await it.fill()
    await it.get()
    await it.page()

    found = (await it.running.get("/-/status")).json()["cache"]

    assert found == {
        "folder": str(it.folder),
        "trouble": "",
        "requests": {"miss": 2, "hit": 1, "revalidated": 1},
    }
