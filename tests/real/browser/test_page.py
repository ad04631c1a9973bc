"""Claims about the page in a real browser: what a person does and sees there while one looks."""

import re

import pytest
from accessibility import serious_findings
from client_environments import Client, client_environment
from downloads import MAY_DOWNLOAD
from page_in_browser import PATIENCE, is_live
from processes import ppmproxy_run
from proxy_client import PAGE, UV, wait_until

from ppmproxy.testing.package_manager import Status

pytestmark = [pytest.mark.real, MAY_DOWNLOAD]


HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""

# A label is shown for two seconds, in which a busy machine may not look.
NOTE_CHANGES = """(button) => {
  button.noted = [];
  const note = () => button.noted.push(button.textContent.trim());
  new MutationObserver(note).observe(button, { characterData: true, childList: true, subtree: true });
}"""


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
    assert re.fullmatch(r"5\d:\d\d min|1:00:00 h", left)
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
    await page.locator("#requests-total").get_by_text(str(running.state.requests), exact=True).wait_for()
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
    token = server.issue_token(lifetime=30.0)
    running = await proxy(server, environ={"PPMPROXY_TOKEN": token})
    await running.get(PAGE, {"User-Agent": UV})
    page = await opened(running)
    before = await page.locator("#upstream-0 .countdown").first.inner_text()

    await page.get_by_text("has expired").wait_for(timeout=2 * PATIENCE)

    assert re.fullmatch(r"0:[0-3]\d min", before)
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
    button = await page.get_by_role("button", name="Copy the lines for pip", exact=True).element_handle()
    await button.evaluate(NOTE_CHANGES)

    await button.click()
    await page.wait_for_function("button => button.noted.length > 0", arg=button)

    copied = await page.evaluate("navigator.clipboard.readText()")
    assert (await button.evaluate("button => button.noted[0]")) == "Copied the lines for pip"
    assert copied.splitlines()[0] == f"pip config set global.index-url {running.url}/pypi/latest/simple/"


async def test_the_checks_of_doctor_run_at_a_click(opened, server, tmp_path, unused_tcp_port):
    environ = {"PPMPROXY_UPSTREAM": server.url, "PPMPROXY_CA_FILE": str(server.write_ca(tmp_path / "ca.pem"))}
    environ |= {"PPMPROXY_TOKEN": server.token, "PPMPROXY_LISTEN": f"127.0.0.1:{unused_tcp_port}"}
    async with ppmproxy_run(tmp_path, **environ) as running:
        page = await opened(running)
        await page.get_by_role("button", name="Run the checks").click()
        await page.get_by_text("checks passed").click(timeout=2 * PATIENCE)
        text = await page.locator("#checks").inner_text()

        assert await serious_findings(page) == []
    assert server.url in text
    assert server.token not in text
