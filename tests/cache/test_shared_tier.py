"""Claims about the tier that machines share: verified before it is used, and never waited for once it failed."""

import asyncio
import os
from functools import partial

import pytest
from proxy_client import wait_until
from store_of_tests import put

from ppmproxy.cache.pause import FIRST
from ppmproxy.cache.shared_tier import MOST_WRONG
from ppmproxy.cache.stores.protocol import StoreError, key_of

LIMIT = 0.2  # seconds, for what never comes
BROKEN = StoreError("the shared cache s3://bucket cannot be reached", "check the network")


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
    gate = tier.store.gate = asyncio.Event()
    asked = [asyncio.create_task(tier.bring(put(tier, bytes([number])))) for number in range(30)]

    await wait_until(lambda: len(tier.store.did("open")) == 30)
    gate.set()

    assert await asyncio.gather(*asked) == [True] * 30


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

    assert [await tier.bring(digest), await tier.bring(digest)] == [False, False]
    assert not tier.pause.is_on
    assert (len(tier.store.did("open")), tier.reads.late) == (1, 1)


# --- failures ---


@pytest.mark.parametrize("fault", [BROKEN, "hang"], ids=["error", "hang"])
async def test_the_first_failure_is_waited_for_and_no_other(tier, logs, fault):
    tier.store.fault, tier.timeout = fault, LIMIT
    digests = [put(tier, f"file {number}".encode()) for number in range(40)]

    first = await asyncio.gather(*(tier.bring(digest) for digest in digests))
    asked = len(tier.store.did("open"))
    later = [await tier.bring(digest) for digest in digests]

    assert first == later == [False] * 40
    assert (len(tier.store.did("open")), tier.reads.skipped) == (asked, 40)
    assert len(logs.events("shared_cache_paused")) == 1


async def test_a_body_that_breaks_or_stops_is_a_failure_and_leaves_nothing(tier):
    for hangs in (False, True):
        digest = put(tier, os.urandom(300_000))
        tier.store.ends_early, tier.store.hangs_there, tier.timeout = 100_000, hangs, LIMIT

        assert not await tier.bring(digest)
        assert tier.pause.is_on
        assert not list((tier.disk.folder.partials).iterdir())
        tier.pause.end()


async def test_a_store_that_trickles_is_given_up_after_the_time_limit(tier):
    digest, tier.timeout = put(tier, os.urandom(1_000_000)), 5.0
    tier.store.chunk_size, tier.store.before_chunk = 100, partial(tier.clock.advance, 1.0)

    assert not await tier.bring(digest)
    assert tier.clock.ahead < 7.0
    assert tier.pause.is_on


async def test_a_large_blob_that_comes_fast_enough_may_take_longer_than_the_time_limit(tier):
    digest, tier.timeout = put(tier, os.urandom(8_000_000)), 5.0
    tier.store.chunk_size, tier.store.before_chunk = 1_000_000, partial(tier.clock.advance, 0.8)

    assert await tier.bring(digest)
    assert tier.clock.ahead > tier.timeout


async def test_a_blob_that_is_too_large_to_be_here_soon_is_left_to_the_package_manager_and_the_store_not_paused(tier):
    """At 2 MB/s, which is no slow store, 150 MB would take longer than a client waits."""
    tier.disk.max_size, tier.timeout = 1 << 30, 5.0
    digest = put(tier, bytes(150_000_000))
    tier.store.chunk_size, tier.store.before_chunk = 2_000_000, partial(tier.clock.advance, 1.0)

    assert not await tier.bring(digest)
    assert tier.clock.ahead < 10.0
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
    tier.store.fault, tier.timeout = "hang", LIMIT
    await tier.bring(digest)
    tier.clock.ahead = FIRST

    await tier.bring(digest)
    is_still_looking = tier.pause.is_due
    await wait_until(lambda: not tier.pause.is_due)

    assert is_still_looking
    assert tier.pause.is_on


async def test_thirty_failures_of_one_moment_are_looked_at_again_as_soon_as_one(tier):
    gate = tier.store.gate = asyncio.Event()
    tier.store.fault = BROKEN
    asked = [asyncio.create_task(tier.bring(put(tier, bytes([number])))) for number in range(30)]
    await wait_until(lambda: len(tier.store.did("open")) == 30)

    gate.set()
    await asyncio.gather(*asked)

    tier.clock.ahead = FIRST
    assert tier.pause.is_due


async def test_a_look_that_finds_a_web_page_keeps_it_paused(tier, logs):
    digest = put(tier, b"data")
    tier.store.fault = BROKEN
    await tier.bring(digest)
    tier.store.fault, tier.store.blobs[key_of(digest)] = None, b"<html>sign in</html>"
    tier.clock.ahead = FIRST

    await tier.bring(digest)
    await wait_until(lambda: tier.reads.wrong and not tier.pause.is_due)

    assert tier.pause.is_on
    assert logs.events("shared_cache_resumed") == []


async def test_a_small_blob_is_here_within_the_time_limit_or_the_store_is_paused(tier):
    """However it trickles: at this rate it would be whole in less than `MOST_SECONDS`."""
    digest, tier.timeout = put(tier, os.urandom(1000)), 5.0
    tier.store.chunk_size, tier.store.before_chunk = 100, partial(tier.clock.advance, 0.7)

    assert not await tier.bring(digest)
    assert tier.clock.ahead < 6.0
    assert tier.pause.is_on


async def test_head_and_first_piece_share_the_time_limit(tier):
    digest, tier.timeout = put(tier, b"data"), LIMIT
    tier.store.open_delay = tier.store.chunk_delay = 0.75 * LIMIT

    assert not await tier.bring(digest)
    assert tier.pause.is_on


async def test_a_request_waits_no_longer_than_the_time_limit_for_those_before_it(tier):
    tier._slots = asyncio.Semaphore(1)
    large, small = put(tier, os.urandom(5_000_000)), put(tier, b"data")
    gate, generous = asyncio.Event(), tier.timeout
    tier.store.gate = gate
    first = asyncio.create_task(tier.bring(large))
    await wait_until(lambda: tier.store.did("open"))
    tier.timeout = LIMIT

    assert not await tier.bring(small)
    assert (tier.reads.late, tier.pause.is_on) == (1, False)
    gate.set()
    tier.timeout = generous
    assert await first
    assert await tier.bring(small)
