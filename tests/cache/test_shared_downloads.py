"""Claims about downloads: one for all who wait, verified, continued where it breaks, and nothing left behind."""

import asyncio
import functools
import os
from pathlib import Path

import pytest
from cached_upstream import word
from proxy_client import request_head, wait_until

from ppmproxy.testing.package_manager import Cut, Stall, Status

PAYLOAD = os.urandom(3_000_000)


def partials(it):
    return list((it.folder / "partial").iterdir())


def blobs(it):
    return [path for path in (it.folder / "blobs").glob("*/*") if path.is_file()]


@pytest.fixture
async def it(cached):
    made = await cached(payload=PAYLOAD, read_timeout=15.0)
    await made.page()
    return made


async def test_twenty_clients_cause_one_request(it):
    it.server.add_fault(it.path, Stall(1_000_000))

    asking = [asyncio.create_task(it.get()) for _ in range(20)]
    await wait_until(lambda: _clients(it) == 20 and it.server.requests_for(it.path))
    it.server.release()
    replies = await asyncio.gather(*asking)

    assert {reply.body for reply in replies} == {it.file.data}
    assert len(it.server.requests_for(it.path)) == 1
    assert sorted({word(reply) for reply in replies}) == ["fwd=uri-miss; collapsed; stored", "fwd=uri-miss; stored"]


async def test_the_first_byte_comes_as_soon_as_the_upstream_sends_it(it):
    it.server.add_fault(it.path, Stall(1_000_000))

    async with it.running.connected() as (reader, writer):
        writer.write(request_head(it.path))
        head = await reader.readuntil(b"\r\n\r\n")
        start = await reader.readexactly(900_000)
        it.server.release()

    assert b"200" in head.partition(b"\r\n")[0]
    assert start == it.file.data[:900_000]


async def test_the_first_client_may_leave(it):
    it.server.add_fault(it.path, Stall(1_000_000))
    async with it.running.connected() as (reader, writer):
        writer.write(request_head(it.path))
        await reader.readuntil(b"\r\n\r\n")
        second = asyncio.create_task(it.get())
        await wait_until(lambda: len(it.cache.files.downloads) == 1 and _clients(it) == 2)
    await wait_until(lambda: _clients(it) == 1)

    it.server.release()
    reply = await second

    assert reply.body == it.file.data
    assert len(it.server.requests_for(it.path)) == 1


def _clients(it):
    return sum(download.clients for download in it.cache.files.downloads._running.values())


@pytest.mark.parametrize(
    ("wanted", "is_here"),
    [("bytes=0-99", True), ("bytes=1000-400000", True), ("bytes=100-900000", False), ("bytes=-100", False)],
)
async def test_a_range_that_has_come_is_sent_from_the_download(it, wanted, is_here):
    it.server.add_fault(it.path, Stall(500_000), times=1)
    async with it.running.connected() as (reader, writer):
        writer.write(request_head(it.path))
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(490_000)

        reply = await it.get(Range=wanted)

    whole = range(*slice(*_bounds(wanted)).indices(len(it.file.data)))
    assert (reply.status, reply.body) == (206, it.file.data[whole.start : whole.stop])
    assert reply.headers["Content-Range"] == f"bytes {whole.start}-{whole.stop - 1}/{len(it.file.data)}"
    assert len(it.server.requests_for(it.path)) == (1 if is_here else 2)
    assert not (is_here and "ETag" in reply.headers)
    it.server.release()


def _bounds(wanted):
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    return (int(first), int(last) + 1) if first else (-int(last), None)


async def test_a_range_on_condition_is_not_sent_from_a_download(it):
    it.server.add_fault(it.path, Stall(500_000), times=1)
    async with it.running.connected() as (reader, writer):
        writer.write(request_head(it.path))
        await reader.readexactly(400_000)

        await it.get(**{"Range": "bytes=0-99", "If-Range": '"something"'})

    assert len(it.server.requests_for(it.path)) == 2
    it.server.release()


async def test_two_hundred_clients_that_leave_leave_nothing(it):
    it.server.add_fault(it.path, Stall(500_000))
    descriptors = open_descriptors()

    for _ in range(200):
        async with it.running.connected() as (reader, writer):
            writer.write(request_head(it.path))
            await reader.readuntil(b"\r\n\r\n")
    await wait_until(lambda: len(it.cache.files.downloads) == 0 and not partials(it))

    assert blobs(it) == []
    await wait_until(lambda: open_descriptors() <= descriptors + 5)


def open_descriptors():
    table = Path("/proc/self/fd")
    return len(list(table.iterdir())) if table.exists() else 0


async def test_a_wrong_body_breaks_the_transfer_and_is_never_kept(it):
    it.server.add_fault(it.path, Status(200, body=PAYLOAD[::-1]))

    for _ in range(2):
        received = await it.running.raw(request_head(it.path))
        head, _, body = received.partition(b"\r\n\r\n")
        assert b"Content-Length: 3000000" in head
        assert len(body) < len(PAYLOAD)
        assert b"etag" not in head.lower()

    await wait_until(lambda: not partials(it))
    assert blobs(it) == []


async def test_a_small_wrong_body_is_an_error_that_says_why(it):
    it.server.add_fault(it.path, Status(200, body=b"PK-something else"))

    reply = await it.get()

    assert (reply.status, reply.code) == (424, "upstream-unexpected")
    assert "hash" in reply.json()["detail"]


@pytest.mark.parametrize("reset", [True, False])
async def test_a_body_that_is_cut_is_continued_unseen(it, reset):
    it.server.add_fault(it.path, Cut(1_000_000, reset=reset), times=1)

    reply = await it.get()

    first, rest = it.server.requests_for(it.path)
    assert reply.body == it.file.data
    assert (first.status, rest.status) == (200, 206)
    assert rest.header("If-Range")
    assert rest.header("Range").startswith("bytes=")


async def test_a_body_that_is_cut_three_times_is_continued_too(it):
    it.server.add_fault(it.path, Cut(700_000), times=3)

    reply = await it.get()

    assert reply.body == it.file.data


async def test_a_server_without_ranges_sends_it_all_again(it):
    it.server.offers_ranges = False
    it.server.add_fault(it.path, Cut(1_000_000), times=1)

    reply = await it.get()

    assert reply.body == it.file.data
    assert [seen.status for seen in it.server.requests_for(it.path)] == [200, 200]


async def test_a_body_that_is_wrong_after_it_was_continued_is_not_kept(it):
    it.server.add_fault(it.path, Cut(1_000_000), times=1)
    rest = Status(206, body=b"x" * 2_000_000, headers=(("Content-Range", f"bytes 1000000-2999999/{len(PAYLOAD)}"),))
    it.server.add_fault(lambda seen: seen.path == it.path and seen.header("Range") is not None, rest)

    received = await it.running.raw(request_head(it.path))

    assert len(received.partition(b"\r\n\r\n")[2]) < len(PAYLOAD)
    await wait_until(lambda: not partials(it))
    assert blobs(it) == []


async def test_a_body_that_stays_cut_is_an_error_for_all(it):
    it.server.add_fault(it.path, Cut(300_000))

    received = await asyncio.gather(*(it.running.raw(request_head(it.path)) for _ in range(3)))

    assert all(len(one.partition(b"\r\n\r\n")[2]) < len(PAYLOAD) for one in received)
    await wait_until(lambda: not partials(it))
    assert blobs(it) == []


@functools.cache
def large_payload():
    return os.urandom(1 << 20) * 36


@pytest.fixture
async def large(cached):
    """A file so large that its body does not go through aiohttp."""
    made = await cached(payload=large_payload(), read_timeout=15.0)
    await made.page()
    return made


async def test_a_large_file_is_whole_for_all_and_kept(large):
    replies = await asyncio.gather(*(large.get() for _ in range(3)))
    again = await large.get()

    assert [reply.body == large.file.data for reply in (*replies, again)] == [True] * 4
    assert word(again) == "hit"
    assert len(large.server.requests_for(large.path)) == 1


async def test_a_large_file_that_is_cut_is_continued(large):
    large.server.add_fault(large.path, Cut(20_000_000), times=1)

    reply = await large.get()

    assert reply.body == large.file.data
    assert [seen.status for seen in large.server.requests_for(large.path)] == [200, 206]


async def test_a_large_file_that_is_wrong_ends_too_early_and_is_not_kept(large):
    wrong = large.file.data[:-1] + bytes([large.file.data[-1] ^ 1])
    large.server.add_fault(large.path, Status(200, body=wrong))

    received = await large.running.raw(request_head(large.path))

    assert len(received.partition(b"\r\n\r\n")[2]) < len(wrong)
    await wait_until(lambda: not partials(large))
    assert blobs(large) == []


async def test_clients_of_a_large_file_that_leave_leave_nothing(large):
    large.server.add_fault(large.path, Stall(2_000_000))
    descriptors = open_descriptors()

    for _ in range(20):
        async with large.running.connected() as (reader, writer):
            writer.write(request_head(large.path))
            await reader.readexactly(1_900_000)
    await wait_until(lambda: len(large.cache.files.downloads) == 0 and not partials(large))

    await wait_until(lambda: open_descriptors() <= descriptors + 5)


async def test_what_is_kept_is_for_its_user_alone(it):
    await it.get()
    await it.get()

    modes = {path.stat().st_mode & 0o777 for path in it.folder.rglob("*") if path.is_file()}

    assert it.folder.stat().st_mode & 0o777 == 0o700
    assert blobs(it)
    assert modes == {0o600}


async def test_who_asks_for_a_small_file_that_is_not_on_disk_yet_has_it_written_at_once(cached):
    small = await cached(payload=b"small")
    await small.page()

    first, second = await small.get(), await small.get()

    assert [word(first), word(second)] == ["fwd=uri-miss; stored", "hit"]
    assert second.body == small.file.data
    assert len(blobs(small)) == 1
