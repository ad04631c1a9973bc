"""Claims about a body that grows while several read it."""

import asyncio

import pytest

from ppmproxy.cache.growing import BodyReader, Growing
from ppmproxy.errors import UpstreamUnreachableError


async def rest_of(reader):
    pieces = []
    while piece := await reader.read():
        pieces.append(piece)
    return b"".join(pieces)


async def test_the_last_byte_is_held_back_until_the_whole_is_right():
    body = Growing(None)
    reader = BodyReader(body)
    body.write(b"hello")

    first = await reader.read()
    waiting = asyncio.create_task(rest_of(reader))
    await asyncio.sleep(0)
    body.finish()

    assert (first, await waiting) == (b"hell", b"o")


async def test_a_wrong_end_is_an_error_to_every_reader():
    body = Growing(None)
    readers = [BodyReader(body) for _ in range(3)]
    body.write(b"hello")

    body.finish(UpstreamUnreachableError("cut", "try again"))

    for reader in readers:
        with pytest.raises(UpstreamUnreachableError):
            await rest_of(reader)


async def test_without_a_disk_it_goes_no_faster_than_its_slowest_reader():
    body = Growing(None)
    fast, slow = BodyReader(body), BodyReader(body)
    body.write(b"a" * 10)
    body.write(b"b" * 10)
    await fast.read()
    await fast.read()
    waiting = asyncio.create_task(body.wait_for_readers())
    await asyncio.sleep(0)
    was_done = waiting.done()

    await slow.read()
    await waiting

    assert not was_done
    assert not body.may_begin_at(0)
    body.finish()
    assert await rest_of(slow) == b"b" * 10


async def test_a_reader_that_leaves_keeps_nobody_waiting():
    body = Growing(None)
    reader = BodyReader(body)
    body.write(b"a" * 10)
    body.write(b"b" * 10)
    waiting = asyncio.create_task(body.wait_for_readers())
    await asyncio.sleep(0)

    reader.close()

    await asyncio.wait_for(waiting, 5)


async def test_nothing_is_read_of_a_body_that_is_verified_first():
    body = Growing(None, is_held=True)
    body.write(b"hello")

    before = body.available
    body.finish()

    assert (before, body.available) == (0, 5)
