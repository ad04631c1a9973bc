"""Claims about the writer of blobs: small ones are written together, soon, and at once where somebody waits."""

import asyncio
import contextlib
import hashlib

import pytest
from proxy_client import wait_until

from ppmproxy.cache.blob_writer import LONGEST, MOST_GATHERED, QUIET, BlobWriter
from ppmproxy.cache.blobs import WRITTEN_TOGETHER, Blobs
from ppmproxy.cache.folder import CacheFolder


class Writes(Blobs):
    """Blobs that remember how many were written at a time."""

    def __init__(self, folder):
        super().__init__(folder)
        self.together = []

    def add_all(self, contents):
        self.together.append(len(contents))
        return super().add_all(contents)


@pytest.fixture
def blobs(tmp_path):
    folder = CacheFolder(tmp_path / "cache")
    folder.prepare()
    return Writes(folder)


@pytest.fixture
def writer(blobs):
    made = BlobWriter(blobs)
    yield made
    made.close()


def digest_of(content):
    return hashlib.sha256(content).hexdigest()


def add(writer, content, *, may_wait=True):
    return asyncio.create_task(writer.add(content, digest_of(content), may_wait=may_wait))


def is_there(blobs, content):
    with contextlib.closing(blobs.open(digest_of(content))) as file:
        return file.read() == content


async def test_small_blobs_that_come_together_are_written_together(writer, blobs):
    contents = [str(number).encode() for number in range(3 * WRITTEN_TOGETHER)]

    await asyncio.gather(*(add(writer, content) for content in contents))

    assert blobs.together == [len(contents)]
    assert all(is_there(blobs, content) for content in contents)
    assert list(blobs._folder.partials.iterdir()) == []


async def test_small_blobs_that_keep_coming_are_written_all_the_same(writer, blobs):
    loop, began = asyncio.get_running_loop(), asyncio.get_running_loop().time()
    first, others = add(writer, b"first"), []
    while not first.done():
        others.append(add(writer, str(len(others)).encode()))
        await asyncio.wait([first], timeout=QUIET / 4)

    assert loop.time() - began < LONGEST + 5
    await asyncio.gather(*others)


async def test_a_blob_that_somebody_waits_for_takes_along_what_has_come(writer, blobs):
    waits = [add(writer, b"one"), add(writer, b"two")]
    await asyncio.sleep(0)

    await writer.add(b"three", digest_of(b"three"), may_wait=False)

    assert blobs.together == [3]
    await asyncio.gather(*waits)


async def test_in_a_hurry_what_comes_next_is_written_at_once_too(writer, blobs):
    first = add(writer, b"one")
    await asyncio.sleep(0)

    writer.hurry()
    second = add(writer, b"two")
    await asyncio.gather(first, second)

    assert blobs.together == [1, 1]


async def test_so_many_bytes_are_not_held_in_memory(writer, blobs):
    half = bytes(MOST_GATHERED // 2)

    one, two = add(writer, half), add(writer, b"x" + half)
    await asyncio.gather(one, two)
    writer.hurry()

    assert blobs.together == [2]


async def test_a_blob_that_cannot_be_written_fails_alone(writer, blobs):
    wrong, right = b"wrong", b"right"
    assert digest_of(wrong)[0] != digest_of(right)[0]
    (blobs._folder.blobs / digest_of(wrong)[0]).touch()

    results = await asyncio.gather(add(writer, wrong), add(writer, right), return_exceptions=True)

    assert [type(result) for result in results] == [FileExistsError, type(None)]
    assert is_there(blobs, right)
    assert list(blobs._folder.partials.iterdir()) == []


async def test_a_blob_that_nobody_waits_for_any_more_is_written_all_the_same(writer, blobs):
    left = add(writer, b"left")
    stays = add(writer, b"stays")
    await asyncio.sleep(0)

    left.cancel()
    await stays

    await wait_until(lambda: is_there(blobs, b"left"))
