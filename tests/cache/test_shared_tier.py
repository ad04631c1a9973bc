"""Claims about the tier that machines share: verified before it is used, and never waited for once it failed."""

import asyncio
import hashlib
import os
import time

import pytest
from proxy_client import wait_until
from store_of_tests import StoreOfTests

from ppmproxy.cache.folder import CacheFolder
from ppmproxy.cache.pause import FIRST
from ppmproxy.cache.shared_tier import MOST_WRONG, SharedTier
from ppmproxy.cache.store import Store
from ppmproxy.cache.stores.protocol import StoreError, key_of
from ppmproxy.config.model import CacheUrlMode

BROKEN = StoreError("the shared cache s3://bucket cannot be reached", "check the network")


class Clock:
    """The monotonic clock, which a test may set forward."""

    ahead = 0.0

    def __call__(self):
        return time.monotonic() + self.ahead


@pytest.fixture
async def tier(tmp_path, logs):
    """A tier over a store of the test, in front of an empty disk: `tier.store.blobs` is what is in it."""
    disk = Store(CacheFolder(tmp_path / "cache"), 10_000_000)
    assert await disk.open()
    made = SharedTier("s3://bucket", CacheUrlMode.READ_WRITE, 0.2, disk, StoreOfTests(), Clock())
    yield made
    await made.close(0.0)
    await disk.close()


def put(tier, data):
    digest = hashlib.sha256(data).hexdigest()
    tier.store.blobs[key_of(digest)] = data
    return digest


async def on_disk(tier, digest):
    file = await tier.disk.open_blob(digest)
    if file is None:
        return None
    try:
        return file.read()
    finally:
        tier.disk.close_blob(digest, file)


# --- reading ---


async def test_a_blob_is_brought_to_the_disk_whole_and_right(tier):
    data = os.urandom(300_000)
    digest = put(tier, data)

    assert await tier.bring(digest)
    assert await on_disk(tier, digest) == data
    assert (tier.reads.hits, tier.reads.read_bytes) == (1, 300_000)


async def test_several_who_want_one_blob_cost_one_request(tier):
    digest = put(tier, os.urandom(300_000))

    assert await asyncio.gather(*(tier.bring(digest) for _ in range(5))) == [True] * 5
    assert len(tier.store.did("open")) == 1


async def test_what_an_install_asks_for_at_once_is_asked_for_at_once(tier):
    tier.store.fault = "hang"
    asked = [asyncio.create_task(tier.bring(put(tier, bytes([number])))) for number in range(30)]

    await wait_until(lambda: len(tier.store.did("open")) == 30)

    assert await asyncio.gather(*asked) == [False] * 30


async def test_no_more_is_read_of_a_blob_than_its_size(tier):
    digest = put(tier, b"data" * 100)
    tier.store.chunk_size, tier.store.more = 100, b"and more"

    assert await tier.bring(digest)
    assert await on_disk(tier, digest) == b"data" * 100


async def test_who_leaves_ends_nobody_elses_blob(tier):
    digest = put(tier, os.urandom(300_000))
    tier.store.chunk_delay = 0.01
    leaving, staying = asyncio.create_task(tier.bring(digest)), asyncio.create_task(tier.bring(digest))
    await wait_until(lambda: tier.store.asked)

    leaving.cancel()

    assert await staying


async def test_what_is_not_there_is_a_miss_and_not_asked_for_again_at_once(tier):
    digest = "0" * 64

    assert [await tier.bring(digest), await tier.bring(digest)] == [False, False]
    assert len(tier.store.did("open")) == 1
    tier.clock.ahead = 60.0
    await tier.bring(digest)
    assert len(tier.store.did("open")) == 2
    assert not tier.pause.is_on


@pytest.mark.parametrize("wrong", [b"", b"<html>sign in</html>", os.urandom(300_000)], ids=["empty", "html", "other"])
async def test_wrong_bytes_are_never_kept_and_reported_once(tier, logs, wrong):
    digest = put(tier, b"right" * 1000)
    tier.store.blobs[key_of(digest)] = wrong

    found = [await tier.bring(digest), await tier.bring(digest)]

    assert found == [False, False]
    assert await on_disk(tier, digest) is None
    assert len(tier.store.did("open")) == 1
    assert [key_of(digest) in event["why"] for event in logs.events("shared_blob_wrong")] == [True]
    assert not list((tier.disk.folder.partials).iterdir())


async def test_a_blob_that_is_too_short_or_too_long_is_wrong(tier):
    data = os.urandom(200_000)
    for stored in (data[:-1], data + b"x"):
        digest = put(tier, data)
        tier._wrong.clear()
        tier.store.blobs[key_of(digest)] = stored

        assert not await tier.bring(digest)

    assert tier.reads.wrong == 2


async def test_a_store_that_has_something_else_under_every_key_is_left_alone(tier):
    for number in range(MOST_WRONG):
        digest = put(tier, f"file {number}".encode())
        tier.store.blobs[key_of(digest)] = b"<html>sign in</html>"
        await tier.bring(digest)

    assert tier.pause.is_on


async def test_a_blob_larger_than_the_cache_is_not_brought(tier):
    digest = put(tier, bytes(10_000_001))

    assert not await tier.bring(digest)
    assert not tier.pause.is_on


# --- failures ---


@pytest.mark.parametrize("fault", [BROKEN, "hang"], ids=["error", "hang"])
async def test_the_first_failure_is_waited_for_and_no_other(tier, logs, fault):
    tier.store.fault = fault
    digests = [put(tier, f"file {number}".encode()) for number in range(40)]

    began = time.monotonic()
    first = await asyncio.gather(*(tier.bring(digest) for digest in digests))
    took = time.monotonic() - began
    began = time.monotonic()
    later = [await tier.bring(digest) for digest in digests]
    took_later = time.monotonic() - began

    assert first == later == [False] * 40
    assert took < 0.2 + 0.3
    assert took_later < 0.1
    assert len(logs.events("shared_cache_paused")) == 1


async def test_a_body_that_breaks_or_stops_is_a_failure_and_leaves_nothing(tier):
    for hangs in (False, True):
        digest = put(tier, os.urandom(300_000))
        tier.store.ends_early, tier.store.hangs_there = 100_000, hangs

        assert not await tier.bring(digest)
        assert tier.pause.is_on
        assert not list((tier.disk.folder.partials).iterdir())
        tier.pause.end()


async def test_a_store_that_trickles_is_given_up_after_the_time_limit(tier):
    digest = put(tier, os.urandom(1_000_000))
    tier.store.chunk_size, tier.store.chunk_delay = 100, 0.02

    began = time.monotonic()

    assert not await tier.bring(digest)
    assert time.monotonic() - began < 0.5


async def test_a_large_blob_that_comes_fast_enough_may_take_longer_than_the_time_limit(tier):
    digest = put(tier, os.urandom(1_000_000))
    tier.store.chunk_delay = 0.03

    assert await tier.bring(digest)


async def test_a_blob_that_is_too_large_to_be_here_soon_is_left_to_the_package_manager_and_the_store_not_paused(tier):
    """2 MB in 0.2 s are 10 MB/s, and 100 MB would take as many seconds as a client waits."""
    tier.disk.max_size = 1 << 30
    digest = put(tier, bytes(150_000_000))
    tier.store.chunk_size, tier.store.chunk_delay = 100_000, 0.01

    began = time.monotonic()

    assert not await tier.bring(digest)
    assert time.monotonic() - began < 1.0
    assert not tier.pause.is_on
    assert (tier.reads.late, tier.reads.failed) == (1, 0)
    assert not list((tier.disk.folder.partials).iterdir())


async def test_it_is_found_well_again_in_the_background(tier, logs):
    digest = put(tier, b"data")
    tier.store.fault = BROKEN
    await tier.bring(digest)
    tier.store.fault = None
    tier.clock.ahead = FIRST

    first = await tier.bring(digest)
    await wait_until(lambda: not tier.pause.is_on)

    assert not first
    assert await tier.bring(digest)
    assert len(logs.events("shared_cache_resumed")) == 1


async def test_a_look_that_fails_keeps_it_paused_and_nobody_waiting(tier):
    digest = put(tier, b"data")
    tier.store.fault = "hang"
    await tier.bring(digest)
    tier.clock.ahead = FIRST

    began = time.monotonic()
    await tier.bring(digest)
    took = time.monotonic() - began
    await wait_until(lambda: not tier.pause.is_due)

    assert took < 0.1
    assert tier.pause.is_on


# --- writing ---


async def kept(tier, data):
    digest, partial = hashlib.sha256(data).hexdigest(), tier.disk.blobs.create()
    partial.write(data)
    assert tier.disk.keep_blob(partial, digest)
    partial.discard()
    return digest


async def test_what_is_offered_is_uploaded_once(tier):
    digest = await kept(tier, b"data")

    tier.offer(digest)
    await wait_until(lambda: tier.uploads.uploaded)
    tier.offer(digest)
    await wait_until(lambda: tier.uploads.present)

    assert tier.store.blobs == {key_of(digest): b"data"}
    assert len(tier.store.did("put")) == 1


async def test_in_the_mode_read_nothing_is_asked_for_uploading(tier):
    tier.mode = CacheUrlMode.READ

    tier.offer(await kept(tier, b"data"))
    await tier.close(tier.clock() + 1.0)

    assert tier.store.asked == []


@pytest.mark.parametrize("wrong", [b"DATA", b"longer than that"], ids=["same size", "other size"])
async def test_a_wrong_blob_is_replaced(tier, wrong):
    digest = await kept(tier, b"data")
    await asyncio.to_thread(tier.disk.blobs.remove, digest)
    tier.store.blobs[key_of(digest)] = wrong
    await tier.bring(digest)

    await kept(tier, b"data")
    tier.offer(digest)
    await wait_until(lambda: tier.uploads.uploaded)

    assert tier.store.blobs[key_of(digest)] == b"data"


async def test_uploads_that_are_refused_are_said_once_and_leave_reading_alone(tier, logs):
    tier.store.put_fault = StoreError("the shared cache s3://bucket refuses the credentials", "allow them to write")
    there = put(tier, b"there")

    for number in range(20):
        tier.offer(await kept(tier, f"file {number}".encode()))
    await wait_until(lambda: tier.uploads.failed + tier.uploads.dropped == 20)

    assert await tier.bring(there)
    assert len(logs.events("shared_cache_upload_failed")) == 1
    assert tier.uploads.failed <= 2


async def test_at_the_end_uploads_are_finished_until_the_deadline(tier):
    tier.store.put_delay = 0.1
    for number in range(4):
        tier.offer(await kept(tier, f"file {number}".encode()))

    await tier.close(tier.clock() + 5.0)

    assert tier.uploads.uploaded == 4


async def test_at_the_deadline_what_is_left_is_given_up(tier):
    tier.store.put_delay = 60.0
    for number in range(4):
        tier.offer(await kept(tier, f"file {number}".encode()))
    began = time.monotonic()

    await tier.close(tier.clock() + 0.2)

    assert time.monotonic() - began < 1.0
    assert tier.uploads.uploaded == 0


async def test_at_the_end_nobody_waits_for_a_store_that_has_failed(tier):
    tier.store.put_delay, digest = 60.0, put(tier, b"data")
    tier.offer(await kept(tier, b"file"))
    tier.store.fault = "hang"
    await tier.bring(digest)
    began = time.monotonic()

    await tier.close(tier.clock() + 60.0)

    assert time.monotonic() - began < 5.0
    assert tier.uploads.uploaded == 0
