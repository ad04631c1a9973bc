"""A real Chromium, driven by Playwright."""

import contextlib
import shutil

from downloads import skip_or_fail
from page_in_browser import PATIENCE

EVIL = "evil.test"
# The last but one: what Chromium itself keeps pages from is not what is tried here, and other browsers do not.
FLAGS = (
    *["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"],
    *["--disable-background-networking", "--disable-component-update"],
    "--disable-dev-shm-usage",  # of which a container may have too little
    "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests",
    f"--host-resolver-rules=MAP {EVIL} 127.0.0.1, MAP *.{EVIL} 127.0.0.1, MAP devbox 127.0.0.1",
)


@contextlib.asynccontextmanager
async def chromium():
    """A browser with an empty profile; the test is skipped where there is none."""
    try:
        from playwright.async_api import async_playwright
    except ImportError:
        skip_or_fail("Playwright is missing", "pip install --group browser, or make test-browser")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        skip_or_fail("there is no Chromium", "apt-get install chromium")
    async with async_playwright() as driver:
        launched = await driver.chromium.launch(executable_path=program, args=FLAGS, timeout=2 * PATIENCE)
        yield launched
        await launched.close()
