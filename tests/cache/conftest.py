"""A daemon with a cache in front of a fake Package Manager, and a tier that machines share."""

import time

import pytest
from cached_upstream import cached_starter
from store_of_tests import StoreOfTests

from ppmproxy.cache.folder import CacheFolder
from ppmproxy.cache.shared_tier import SharedTier
from ppmproxy.cache.store import Store
from ppmproxy.config.model import CacheUrlMode

TIMEOUT = 20.0  # seconds, more than any machine takes; a test about the time limit sets one of its own


@pytest.fixture
def cached(package_manager, proxy, tmp_path, monkeypatch):
    """Starts both: `it = await cached(cache_recheck=0)`. What fails is tried for a second, and silence waited for."""
    monkeypatch.setattr("ppmproxy.upstream.client.PATIENCE", 1.0)
    return cached_starter(package_manager, proxy, tmp_path, TIMEOUT)


class Clock:
    """The monotonic clock, which a test may set forward."""

    ahead = 0.0

    def advance(self, seconds):
        self.ahead += seconds

    def __call__(self):
        return time.monotonic() + self.ahead


@pytest.fixture
async def tier(tmp_path, logs):
    """A tier over a store of the test, in front of an empty disk: `tier.store.blobs` is what is in it."""
    disk = Store(CacheFolder(tmp_path / "cache"), 10_000_000)
    assert await disk.open()
    made = SharedTier("s3://bucket", CacheUrlMode.READ_WRITE, TIMEOUT, disk, StoreOfTests(), Clock())
    yield made
    await made.close(0.0)
    await disk.close()
