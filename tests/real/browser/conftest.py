"""What the tests in a browser share: the browser, and a Package Manager with a proxy in front of it."""

import pytest
from chromium import chromium
from page_in_browser import new_page

from ppmproxy.config.model import SignIn
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


@pytest.fixture
async def opened(browser):
    """Opens a page in a window of its own: `await opened(running)`; what it says to the console is kept."""
    pages = []

    async def go(running, path="/", **options):
        page = await new_page(browser, **{"permissions": ["clipboard-read", "clipboard-write"], **options})
        pages.append(page)
        page.said = []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        url = running if isinstance(running, str) else running.url
        page.response = await page.goto(url + path)
        return page

    yield go
    for page in pages:
        await page.close()


@pytest.fixture
async def signed_out(server, proxy):
    return await proxy(server, environ={}, sign_in=SignIn.NEVER)
