"""A store of blobs in memory that tests make slow, wrong, silent or broken."""

import asyncio
import contextlib
import hashlib

from ppmproxy.cache.stores.protocol import StoredBlob, StoreError, key_of


class StoreOfTests:
    """Implements `BlobStore`; what it is asked is in `asked`."""

    def __init__(self):
        self.blobs = {}
        self.asked = []
        self.fault = None  # an exception, or "hang"
        self.put_fault = None
        self.gate = None  # an event that each `open` waits for
        self.open_delay = 0.0
        self.before_size = None  # called when `size` is asked
        self.put_delay = 0.0
        self.chunk_delay = 0.0  # seconds before each chunk
        self.before_chunk = None  # called then
        self.chunk_size = 1 << 16
        self.ends_early = None  # bytes after which the body breaks, or hangs where `hangs_there`
        self.hangs_there = False
        self.more = b""  # sent behind the bytes that the size announces

    async def _fail(self, fault):
        if fault == "hang":
            await asyncio.Event().wait()
        if fault is not None:
            raise fault

    @contextlib.asynccontextmanager
    async def open(self, key):
        self.asked.append(("open", key))
        if self.gate is not None:
            await self.gate.wait()
        if self.open_delay:
            await asyncio.sleep(self.open_delay)
        await self._fail(self.fault)
        data = self.blobs.get(key)
        yield None if data is None else StoredBlob(len(data), self._chunks(data))

    async def _chunks(self, data):
        for at in range(0, len(data), self.chunk_size):
            if self.before_chunk is not None:
                self.before_chunk()
            if self.chunk_delay:
                await asyncio.sleep(self.chunk_delay)
            if self.ends_early is not None and at >= self.ends_early:
                await self._fail("hang" if self.hangs_there else StoreError("the body broke", "try again"))
            yield data[at : at + self.chunk_size]
        if self.more:
            yield self.more

    async def size(self, key):
        self.asked.append(("size", key))
        if self.before_size is not None:
            self.before_size()
        await self._fail(self.fault or self.put_fault)
        data = self.blobs.get(key)
        return None if data is None else len(data)

    async def put(self, key, path):
        self.asked.append(("put", key))
        if self.put_delay:
            await asyncio.sleep(self.put_delay)
        await self._fail(self.put_fault or self.fault)
        self.blobs[key] = path.read_bytes()

    async def delete(self, key):
        self.blobs.pop(key, None)

    async def check(self):
        await self._fail(self.fault)

    async def close(self):
        pass

    def did(self, what):
        return [key for done, key in self.asked if done == what]


def put(tier, data):
    """Have this blob in the store of a tier; its digest."""
    digest = hashlib.sha256(data).hexdigest()
    tier.store.blobs[key_of(digest)] = data
    return digest
