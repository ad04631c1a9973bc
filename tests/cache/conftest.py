"""A daemon with a cache in front of a fake Package Manager."""

import pytest
from cached_upstream import cached_starter


@pytest.fixture
def cached(package_manager, proxy, tmp_path):
    """Starts both: `it = await cached(cache_recheck=0)`."""
    return cached_starter(package_manager, proxy, tmp_path)
