"""The table of the cache's faults, and a daemon with a cache in front of a fake Package Manager."""

import pytest
from cached_upstream import cached_starter
from observed_faults import ObservedFaults


def pytest_addoption(parser):
    parser.addoption("--write-table", action="store_true", help="write the table into tests/benchmarks/README.md")


def pytest_configure(config):
    table = ObservedFaults(config, "faults of the cache", ("fault", "what clients see"), "faults")
    config.pluginmanager.register(table, "observed faults")


READ_TIMEOUT = 20.0  # seconds, more than any machine takes; a test about silence sets one of its own


@pytest.fixture
def cached(package_manager, proxy, tmp_path):
    """As in tests/cache: starts a fake Package Manager, and a daemon with a cache in front of it."""
    return cached_starter(package_manager, proxy, tmp_path, READ_TIMEOUT)
