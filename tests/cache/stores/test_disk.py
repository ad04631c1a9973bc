"""Claims about a store in a folder: what is put there is there as a whole, and faults of the folder are said."""

import asyncio
import os
import sys
import threading
from pathlib import Path

import pytest

from ppmproxy.cache.stores.disk import DiskStore
from ppmproxy.cache.stores.protocol import StoreError, key_of

KEY = key_of("ab" * 32)


@pytest.fixture
async def store(tmp_path):
    made = DiskStore(tmp_path / "shared")
    yield made
    await made.close()


async def read(store, key=KEY):
    async with store.open(key) as blob:
        return None if blob is None else b"".join([chunk async for chunk in blob.chunks])


def file_with(tmp_path, data):
    path = tmp_path / "file"
    path.write_bytes(data)
    return path


async def test_what_is_not_there_is_none(store):
    assert await read(store) is None
    assert await store.size(KEY) is None
    await store.delete(KEY)


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
async def test_what_is_put_there_is_there_and_can_be_replaced_and_removed(store, tmp_path, size):
    first, second = os.urandom(size), os.urandom(size)

    await store.put(KEY, file_with(tmp_path, first))
    before = await read(store), await store.size(KEY)
    await store.put(KEY, file_with(tmp_path, second))
    after = await read(store)
    await store.delete(KEY)

    assert before == (first, size)
    assert after == second
    assert await read(store) is None


async def test_nothing_is_left_beside_it(store, tmp_path):
    await store.put(KEY, file_with(tmp_path, b"data"))

    assert [path.name for path in (tmp_path / "shared" / KEY).parent.iterdir()] == ["ab" * 32]


def open_descriptors():
    """How many this process has; 0 where that cannot be seen."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir()) if sys.platform == "linux" else 0


@pytest.mark.parametrize("kind", ["folder", "pipe", "link"])
async def test_what_is_no_file_is_nothing_and_no_fault_of_the_store(store, tmp_path, kind):
    place = tmp_path / "shared" / KEY
    place.parent.mkdir(parents=True)
    (tmp_path / "other").write_bytes(b"data")
    {
        "folder": place.mkdir,
        "pipe": lambda: os.mkfifo(place),
        "link": lambda: place.symlink_to(tmp_path / "other"),
    }[kind]()

    before = open_descriptors()

    assert await read(store) is None
    assert await store.size(KEY) is None
    assert open_descriptors() <= before


async def test_a_volume_is_asked_by_threads_of_its_own(store, tmp_path, monkeypatch):
    await store.put(KEY, file_with(tmp_path, b"data"))
    asked, fstat = set(), os.fstat

    def recorded(descriptor):
        asked.add(threading.current_thread().name.partition("_")[0])
        return fstat(descriptor)

    monkeypatch.setattr(os, "fstat", recorded)

    assert await read(store) == b"data"
    assert asked == {"shared-cache"}


async def test_writes_that_hang_hold_up_no_reader(store, tmp_path, monkeypatch):
    await store.put(KEY, file_with(tmp_path, b"data"))
    hanging = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda _descriptor: hanging.wait(30.0))
    others = [key_of(f"{number:064x}") for number in range(6)]
    puts = [asyncio.create_task(store.put(other, file_with(tmp_path, b"data"))) for other in others]
    await asyncio.sleep(0)

    try:
        assert await asyncio.wait_for(read(store), 10.0) == b"data"
    finally:
        hanging.set()
        await asyncio.gather(*puts)


async def test_a_read_only_store_makes_no_folder_and_says_that_it_is_missing(tmp_path):
    store = DiskStore(tmp_path / "shared", is_read_only=True)

    with pytest.raises(StoreError) as caught:
        await store.check()

    assert "no such file or directory" in str(caught.value)
    assert not (tmp_path / "shared").exists()
    await store.close()


async def test_a_folder_that_cannot_be_made_is_said_in_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    store = DiskStore(tmp_path / "file" / "shared")

    with pytest.raises(StoreError) as caught:
        await store.check()

    assert "not a directory" in str(caught.value)
    assert caught.value.hint
    await store.close()
