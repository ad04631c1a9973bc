"""What the tests in a browser share: the browser, and a Package Manager with a proxy in front of it."""

import pytest
from chromium import chromium

from ppmproxy.testing.package_manager import wheel


def pytest_addoption(parser):
    parser.addoption("--write-pictures", action="store_true", help="renew the pictures of the page in pictures/")


@pytest.fixture
async def server(package_manager):
    server = await package_manager(device_interval=0.1, slow_down_step=0.1, enforces_interval=False)
    server.add(wheel("hello"))
    return server


@pytest.fixture
async def browser(proxy, tmp_path, monkeypatch):
    """A real browser with an empty profile; `proxy` comes first, so that it is closed last."""
    monkeypatch.setenv("HOME", str(tmp_path))
    async with chromium() as launched:
        yield launched
