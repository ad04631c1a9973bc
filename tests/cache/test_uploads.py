"""Claims about uploads to the tier that machines share: in the background, once, given up rather than waited for."""

import asyncio
import hashlib
import time

import pytest
from proxy_client import wait_until
from store_of_tests import put

from ppmproxy.cache.stores.protocol import StoreError, key_of
from ppmproxy.config.model import CacheUrlMode


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


async def test_an_upload_that_hangs_is_said_once_and_the_next_ones_are_dropped(tier, logs, monkeypatch):
    monkeypatch.setattr("ppmproxy.cache.uploads.LOOK_TIMEOUT", 0.1)
    tier.store.put_fault = "hang"

    for number in range(5):
        tier.offer(await kept(tier, f"file {number}".encode()))
    await wait_until(lambda: tier.uploads.failed + tier.uploads.dropped == 5)

    assert 1 <= tier.uploads.failed <= 2
    assert "too slow for uploads" in tier.upload_trouble
    assert len(logs.events("shared_cache_upload_failed")) == 1


async def test_a_wrong_blob_that_is_offered_twice_is_replaced(tier):
    digest = await kept(tier, b"data")
    await asyncio.to_thread(tier.disk.blobs.remove, digest)
    tier.store.blobs[key_of(digest)] = b"DATA"
    await tier.bring(digest)
    await kept(tier, b"data")

    tier.offer(digest)
    tier.offer(digest)
    await wait_until(lambda: tier.uploads.uploaded)

    assert tier.store.blobs[key_of(digest)] == b"data"


async def test_a_blob_that_another_process_removes_before_its_upload_is_no_failure_of_the_store(tier):
    digest = await kept(tier, b"data")
    tier.store.put_fault = StoreError("the shared cache s3://bucket does not exist", "make the bucket")
    tier.store.before_size = lambda: tier.disk.blobs.remove(digest)

    tier.offer(digest)
    await wait_until(lambda: tier.uploads.dropped)

    assert (tier.uploads.failed, tier.upload_trouble) == (0, "")


async def test_a_second_signal_ends_the_wait_for_uploads(tier):
    tier.store.put_delay = 60.0
    tier.offer(await kept(tier, b"data"))
    await wait_until(lambda: tier.store.did("put"))
    closing = asyncio.create_task(tier.close(tier.clock() + 60.0))
    await asyncio.sleep(0)

    tier.cut()

    await asyncio.wait_for(closing, 5.0)


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

    assert time.monotonic() - began < 30.0
    assert tier.uploads.uploaded == 0


async def test_at_the_end_nobody_waits_for_a_store_that_has_failed(tier):
    tier.store.put_delay, digest = 60.0, put(tier, b"data")
    tier.offer(await kept(tier, b"file"))
    tier.store.fault, tier.timeout = "hang", 0.2
    await tier.bring(digest)
    began = time.monotonic()

    await tier.close(tier.clock() + 60.0)

    assert time.monotonic() - began < 30.0
    assert tier.uploads.uploaded == 0
