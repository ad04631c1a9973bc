"""Claims about the page in a real browser: how it looks, to whom, and after a restart."""

import re

import pytest
from accessibility import serious_findings
from downloads import MAY_DOWNLOAD
from page_in_browser import is_live
from proxy_client import PAGE, UV, request_head

from ppmproxy.config.local_address import TcpAddress
from ppmproxy.testing.package_manager import Status

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]


HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>'\"&\u202e"


# --- how it looks, and to whom ---


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
async def test_it_is_readable_in_light_and_dark_and_on_a_telephone(opened, server, proxy, scheme, width, tmp_path):
    running = await proxy(server, cache=True, settings={"cache_dir": tmp_path / "cache"})
    for path in (
        PAGE,
        "/a%2fb",
        "/pypi/latest/simple/a-project-with-a-name-that-is-as-long-as-they-come-in-a-company/",
    ):
        await running.get(path, {"User-Agent": UV})
    page = await opened(running, color_scheme=scheme, viewport={"width": width, "height": 740})
    background = await page.evaluate("getComputedStyle(document.body).backgroundColor")

    assert await page.evaluate("document.scrollingElement.scrollWidth") <= width
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 300) is (scheme == "dark")
    assert await serious_findings(page) == []


async def test_the_essentials_are_there_without_a_script(opened, signed_out):
    await signed_out.get(PAGE, {"User-Agent": UV})
    page = await opened(signed_out, java_script_enabled=False)

    text = await page.locator("main").inner_text()

    assert "none found" in text
    assert "token-missing" in text
    assert "ppmproxy login" in text
    assert await page.get_by_role("button", name="Sign in").count() == 0


async def test_what_others_say_is_text(opened, server, proxy):
    running = await proxy(server)
    server.add_fault("*/simple/hello/", Status(403, HOSTILE))
    agent = HOSTILE.replace("\u202e", "")
    await running.get("/pypi/latest/simple/%3Cimg%20src=x%3E/", {"User-Agent": agent})
    page = await opened(running)
    await is_live(page)

    await running.get(PAGE, {"User-Agent": agent})
    await running.raw(request_head("/pypi/latest/simple/<script>/", f"User-Agent: {agent}"))
    await page.locator("#rows tr").nth(2).wait_for()

    assert await page.title() == "ppmproxy"
    assert await page.locator("img, main script").count() == 0
    assert page.said == []


async def test_under_a_name_of_allowed_hosts_the_page_is_shown_and_cannot_act(opened, server, proxy):
    running = await proxy(server, environ={}, settings={"allowed_hosts": ("devbox",)})
    page = await opened(f"http://devbox:{running.port}", "/-/")
    await is_live(page)

    assert page.response.status == 200
    assert await page.get_by_role("button", name="Sign in").count() == 0
    answer = await page.evaluate(
        "fetch('/-/sign-in', {method: 'POST', headers: {'X-Ppmproxy-Page-Token': 'x'}}).then((one) => one.status)"
    )
    assert answer == 403
    assert server.pending_sign_ins == []


async def test_the_page_s_own_origin_reaches_nothing_but_the_page(opened, running_at_page, server):
    """What a script that got into the page could do: it runs at its origin, with its policy."""
    page = running_at_page
    statuses = {
        path: await page.evaluate("path => fetch(path).then((one) => one.status, () => 'failed')", path)
        for path in (
            PAGE,
            "/__api__/status",
            "/-/status",
            "/-/metrics",
            "/-/proof?nonce=" + "ab" * 32,
            "/-/shutdown",
            "/",
        )
    }
    ended = await page.evaluate("fetch('/-/shutdown', {method: 'POST'}).then((one) => one.status)")
    elsewhere = await page.evaluate("fetch('http://localhost:1/').then(() => 'sent', () => 'blocked')")
    inline = await page.evaluate(
        "() => { const one = document.createElement('script'); one.textContent = 'document.title = 1';"
        " document.body.append(one); return document.title; }"
    )

    assert set(statuses.values()) == {403}
    assert (ended, elsewhere, inline) == (403, "blocked", "ppmproxy")
    assert server.requests_for(PAGE) == []


@pytest.fixture
async def running_at_page(opened, server, proxy):
    return await opened(await proxy(server))


# --- over a restart ---


async def test_a_page_left_open_over_a_restart_reconnects_and_says_that_it_is_stale(
    opened, server, proxy, unused_tcp_port
):
    at_one_port = {"listen": (TcpAddress("127.0.0.1", unused_tcp_port),)}
    first = await proxy(server, environ={}, settings=at_one_port)
    page = await opened(first)
    await is_live(page)
    await first.daemon.stop()
    await page.get_by_text("Not connected").wait_for()

    second = await proxy(server, environ={}, settings=at_one_port)
    await page.get_by_text("was started anew").wait_for()
    await is_live(page)
    await second.get(PAGE, {"User-Agent": UV})
    await page.locator("#rows tr").filter(has_text="hello").first.wait_for()
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("alert").filter(has_text="load the page again").wait_for()
    assert server.pending_sign_ins == []

    await page.reload()
    await page.get_by_role("button", name="Sign in").click()
    await page.locator(".code code").wait_for()
