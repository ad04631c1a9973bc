"""Claims about the page for people in a real browser: what a person sees and does there, by mouse, keyboard, reader."""

import re
import time
from pathlib import Path

import pytest
from accessibility import serious_findings
from client_environments import Client, client_environment
from downloads import MAY_DOWNLOAD
from page_reader import acting_headers
from processes import ppmproxy_run
from proxy_client import PAGE, UV, request_head, wait_until

from ppmproxy.config.local_address import TcpAddress
from ppmproxy.config.model import SignIn
from ppmproxy.server.request_record import RequestRecord
from ppmproxy.testing.package_manager import Status, wheel

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]

PICTURES = Path(__file__).resolve().parent / "pictures"
PATIENCE = 10_000  # ms for what the page shows by itself
HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>'\"&\u202e"


@pytest.fixture
async def opened(browser):
    """Opens a page in a window of its own: `await opened(running)`; what it says to the console is kept."""
    contexts = []

    async def go(running, path="/", **options):
        context = await browser.new_context(**{"permissions": ["clipboard-read", "clipboard-write"], **options})
        contexts.append(context)
        page = await context.new_page()
        page.set_default_timeout(PATIENCE)
        page.said = []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        url = running if isinstance(running, str) else running.url
        page.response = await page.goto(url + path)
        return page

    yield go
    for context in contexts:
        await context.close()


async def is_live(page):
    await page.get_by_text("Live.", exact=True).wait_for()


@pytest.fixture
async def signed_out(server, proxy):
    return await proxy(server, environ={}, sign_in=SignIn.NEVER)


# --- signing in ---


async def test_a_person_signs_in_from_the_page_without_a_terminal(opened, signed_out, server):
    page = await opened(signed_out)
    assert page.url == signed_out.url + "/-/"
    await page.get_by_role("button", name="Sign in").click()
    code = await page.locator(".code code").inner_text()
    link = await page.get_by_role("link", name="open the sign-in page").get_attribute("href")
    assert await page.get_by_role("img", name="QR code of the sign-in page").is_visible()
    assert await serious_findings(page) == []

    server.approve(code)
    await page.get_by_text("Everything works.").wait_for()
    left = await page.locator("#upstream-0 .countdown").first.inner_text()
    installed = await signed_out.get(PAGE, {"User-Agent": UV})
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_text("none found", exact=True).wait_for()

    assert link.startswith(f"{server.url}/__device__")
    assert re.fullmatch(r"59:\d\d min|1:00:00 h", left)
    assert installed.status == 200
    assert (await signed_out.get(PAGE, {"User-Agent": UV})).status == 407
    assert page.said == []


async def test_a_refused_sign_in_is_said_where_it_was_asked_for(opened, signed_out, server):
    page = await opened(signed_out)
    await page.get_by_role("button", name="Sign in").click()
    await page.locator(".code code").wait_for()

    server.deny()

    await page.get_by_text("The sign-in of").wait_for()
    assert await page.get_by_role("button", name="Sign in").is_enabled()


async def test_what_cannot_begin_is_said_at_once(opened, signed_out, server):
    server.add_fault("*/__api__/device", Status(404))
    page = await opened(signed_out)

    await page.get_by_role("button", name="Sign in").click()

    await page.get_by_role("alert").filter(has_text="sign-in").wait_for()


async def test_a_keyboard_is_enough_to_sign_in(opened, signed_out, server):
    page = await opened(signed_out)
    focused = []
    for _ in range(20):
        await page.keyboard.press("Tab")
        focused.append(await page.evaluate("document.activeElement.textContent.trim()"))
        if focused[-1] == "Sign in":
            break
    outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")

    await page.keyboard.press("Enter")
    await page.locator(".code code").wait_for()

    assert focused[0] == "Skip to the content"
    assert outline != "none"
    assert len(server.pending_sign_ins) == 1


# --- watching ---


async def test_an_install_by_pip_appears_while_one_looks(opened, server, proxy, tmp_path):
    running = await proxy(server)
    page = await opened(running)
    await is_live(page)
    client = client_environment(Client.PIP, tmp_path, f"{running.url}/pypi/latest/simple/")

    done = await client.install("--no-deps", "hello")
    row = page.locator("#rows tr").filter(has_text=".whl").first
    await row.wait_for()

    assert done.code == 0, done.output
    cells = [text.strip() for text in await row.locator("td").all_inner_texts()]
    assert cells[1].startswith("pip/")
    assert cells[2].startswith("hello")
    assert cells[3] == "200"
    assert await page.locator("#requests-total").inner_text() == str(running.state.requests)
    assert page.said == []


async def test_a_page_that_nobody_can_see_is_not_kept_up_to_date_until_somebody_does(opened, server, proxy):
    running = await proxy(server)
    page = await opened(running)
    await is_live(page)
    feed = running.daemon._dispatcher.person_page.feed

    await page.evaluate(HIDE, True)
    await wait_until(lambda: len(feed) == 0)
    await running.get(PAGE, {"User-Agent": UV})
    assert await page.locator("#rows tr").count() == 0
    await page.evaluate(HIDE, False)
    await page.locator("#rows tr").filter(has_text="hello").wait_for()

    assert len(feed) == 1


async def test_a_token_that_expires_is_seen_to_expire(opened, server, proxy):
    token = server.issue_token(lifetime=4.0)
    running = await proxy(server, environ={"PPMPROXY_TOKEN": token})
    await running.get(PAGE, {"User-Agent": UV})
    page = await opened(running)
    before = await page.locator("#upstream-0 .countdown").first.inner_text()

    await page.get_by_text("has expired").wait_for()

    assert re.fullmatch(r"0:0\d min", before)
    assert await page.get_by_role("heading", name="Something is wrong.").is_visible()


async def test_a_failed_request_says_why_and_what_to_do(opened, server, proxy):
    running = await proxy(server)
    server.add_fault("*/simple/hello/", Status(403, "the project is blocked by policy"))
    await running.get(PAGE, {"User-Agent": UV})
    page = await opened(running)

    await page.get_by_text("not-permitted").click()

    assert await page.get_by_text("the project is blocked by policy").first.is_visible()
    assert await serious_findings(page) == []


async def test_the_list_is_filtered_while_one_types(opened, server, proxy):
    running = await proxy(server)
    for path in (PAGE, "/a%2fb", "/pypi/latest/simple/other/"):
        await running.get(path, {"User-Agent": UV})
    page = await opened(running)

    await page.get_by_label("Filter", exact=True).fill("hello")
    visible = await page.locator("#rows tr:visible").all_inner_texts()
    await page.get_by_label("Filter", exact=True).fill("")
    await page.get_by_label("only failed").check()
    failed = await page.locator("#rows tr:visible").all_inner_texts()

    assert len(visible) == 1
    assert "hello" in visible[0]
    assert [("bad-target" in text) for text in failed] == [True]
    assert "1 of the last 3 requests are shown." in await page.locator("#shown").inner_text()


async def test_a_line_is_copied(opened, server, proxy):
    running = await proxy(server)
    page = await opened(running)

    await page.get_by_role("button", name="Copy the lines for pip", exact=True).click()
    await page.get_by_role("button", name="Copied the lines for pip").wait_for()

    copied = await page.evaluate("navigator.clipboard.readText()")
    assert copied.splitlines()[0] == f"pip config set global.index-url {running.url}/pypi/latest/simple/"


async def test_the_checks_of_doctor_run_at_a_click(opened, server, tmp_path, unused_tcp_port):
    environ = {"PPMPROXY_UPSTREAM": server.url, "PPMPROXY_CA_FILE": str(server.write_ca(tmp_path / "ca.pem"))}
    environ |= {"PPMPROXY_TOKEN": server.token, "PPMPROXY_LISTEN": f"127.0.0.1:{unused_tcp_port}"}
    async with ppmproxy_run(tmp_path, **environ) as running:
        page = await opened(running)
        await page.get_by_role("button", name="Run the checks").click()
        await page.get_by_text("checks passed").click(timeout=60_000)
        text = await page.locator("#checks").inner_text()

        assert await serious_findings(page) == []
    assert server.url in text
    assert server.token not in text


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


# --- pictures ---


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
