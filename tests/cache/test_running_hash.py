"""Claims about the hash of a body that is written to a file meanwhile."""

import hashlib
import os

import pytest

from ppmproxy.cache.running_hash import CAN_FOLLOW, HASHED_TOGETHER, RunningHash

pytestmark = pytest.mark.skipif(not CAN_FOLLOW, reason="files are read by pread")
STEP = 1 << 18


@pytest.fixture
def file(tmp_path):
    with (tmp_path / "body").open("w+b", buffering=0) as opened:
        yield opened


@pytest.fixture
def running():
    made = RunningHash()
    yield made
    made.close()


@pytest.mark.parametrize("size", [0, 1, STEP, HASHED_TOGETHER, 3 * HASHED_TOGETHER + 12345])
async def test_the_hash_of_a_file_that_grows_is_that_of_its_bytes(file, running, size):
    body = os.urandom(size)

    for at in range(0, size, STEP):
        file.write(body[at : at + STEP])
        running.follow(file, min(size, at + STEP))

    assert await running.digest() == hashlib.sha256(body).hexdigest()


async def test_bytes_before_and_after_the_file_count_in_their_order(file, running):
    body = os.urandom(3 * HASHED_TOGETHER)
    first, last = STEP, len(body) - STEP
    file.write(body[:last])

    running.update(body[:first])
    running.follow(file, last)
    running.update(memoryview(body)[last:])

    assert await running.digest() == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("later", [b"", b"and more"])
async def test_a_file_that_becomes_shorter_has_no_hash(file, running, later):
    running.follow(file, 2 * HASHED_TOGETHER)
    if later:
        running.update(later)

    with pytest.raises(OSError, match="shorter"):
        await running.digest()
