"""The pictures of the page for README."""

import time
from pathlib import Path

import pytest
from downloads import MAY_DOWNLOAD
from page_in_browser import is_live
from page_reader import acting_headers
from proxy_client import PAGE, UV, wait_until

from ppmproxy.server.request_record import RequestRecord
from ppmproxy.testing.package_manager import wheel

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]


PICTURES = Path(__file__).resolve().parent / "pictures"


async def test_pictures_for_the_readme(opened, server, proxy, request, tmp_path):
    """Two pictures, written with `--write-pictures`; without it, that there is something to take a picture of."""
    for name in ("numpy", "pandas", "requests", "internal-tools"):
        server.add(wheel(name))
    good, bad = [
        await proxy(
            server, environ={}, home=tmp_path / name, cache=True, settings={"cache_dir": tmp_path / f"{name}-cache"}
        )
        for name in ("good", "bad")
    ]
    for running in (good, bad):
        _fill_the_last_hour(running.daemon.services.state)
    await good.ask("POST", "/-/sign-in", await acting_headers(good))
    server.approve()
    await wait_until(lambda: good.state.upstream("default").sign_in_end)
    for running in (good, bad):
        for _ in range(8):
            for name in ("numpy", "pandas", "requests", "internal-tools"):
                await running.get(f"/pypi/latest/simple/{name}/", {"User-Agent": UV})
    await bad.ask("POST", "/upload/pypi/internal", {"User-Agent": "twine/7.0"})
    for name, running in (("page-works", good), ("page-something-wrong", bad)):
        page = await opened(running, viewport={"width": 1000, "height": 900})
        await is_live(page)
        if running is bad:
            await page.get_by_role("button", name="Sign in").click()
            await page.locator(".code code").wait_for()
        assert await page.locator("#rows tr").count() >= 32
        if request.config.getoption("--write-pictures"):
            PICTURES.mkdir(exist_ok=True)
            await _show_usual_names(page, server)
            await page.screenshot(path=PICTURES / f"{name}.png")


def _fill_the_last_hour(state):
    """What a picture of a morning's work needs, and a test has no time for."""
    began = state._started_at = time.time() - 4200
    upstream = state.upstream("default")
    for minute in range(70):
        state.now = lambda at=began + 60 * minute: at
        for number in range((minute * 7) % 11 * (minute % 3)):
            failed = {"status": 403, "code": "not-permitted"} if (minute + number) % 13 == 0 else {"status": 200}
            state.record_request(RequestRecord("GET", PAGE, "default", "index", sent=40_000, **failed))
        for part in range(4):
            upstream.record_latency(0.02 + (minute * 7 + part * 3) % 10 / 300, began + 60 * minute + 15 * part)
    state.now = time.time


async def _show_usual_names(page, server):
    """A picture shows the addresses that a person would have, and not those of a test."""
    await page.evaluate(
        """(url) => {
          const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          while (texts.nextNode()) {
            const text = texts.currentNode;
            text.data = text.data
              .replaceAll(url, "https://packagemanager.example.com")
              .replace(/http:\\/\\/127\\.0\\.0\\.1:\\d+/g, "http://127.0.0.1:7760")
              .replace(/\\/tmp\\/\\S*?\\/\\./g, "~/.");
          }
        }""",
        server.url,
    )
