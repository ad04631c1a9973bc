"""Claims about the page for people: what it shows, and what it never shows."""

import json
import time

import pytest
from page_reader import EVENTS, OWN, PAGE, TYPED, PageReader, live_window, read_page
from proxy_client import PAGE as PROJECT
from proxy_client import UV

from ppmproxy.testing.package_manager import Status

HOSTILE = "<img src=x onerror=alert(1)>\"'&{x}"


async def test_a_person_who_types_the_address_is_sent_to_the_page(running, server):
    sent = await running.get("/", TYPED)
    page = await running.get(sent.headers["Location"], TYPED)

    assert (sent.status, sent.headers["Location"], page.status) == (303, "/-/", 200)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert server.requests_for("/") == []


async def test_an_installer_that_asks_for_the_root_is_forwarded(running, server):
    await running.get("/", {"User-Agent": UV})

    assert len(server.requests_for("/")) == 1


async def test_the_page_may_run_its_own_script_only_and_be_framed_by_nobody(running):
    page = await running.get(PAGE, TYPED)
    policy = dict(part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";"))

    assert policy.pop("default-src") == policy.pop("base-uri") == policy.pop("frame-ancestors") == "'none'"
    assert set(policy.values()) == {"'self'"}
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert [name for name in page.headers if name.lower().startswith("access-control")] == []


async def test_no_script_and_no_style_stands_in_the_page(running):
    tags = (await read_page(running)).tags

    assert [given for tag, given in tags if tag == "script" and "src" not in given] == []
    assert [
        tag for tag, given in tags if tag == "style" or any(name.startswith(("on", "style")) for name in given)
    ] == []
    outside = [given for _, given in tags if given.get("src", given.get("href", "/")).startswith(("http", "//"))]
    assert outside == []


async def test_the_files_of_the_page_are_kept_for_ever_under_the_hash_of_their_content(running):
    tags = (await read_page(running)).tags
    paths = [given.get("src") or given["href"] for tag, given in tags if tag in {"script", "link"}]
    replies = [await running.get(path, OWN) for path in paths]

    assert len(paths) == 3
    assert {(reply.status, reply.headers["Cache-Control"]) for reply in replies} == {
        (200, "max-age=31536000, immutable")
    }
    assert (await running.get(paths[0].replace(".", ".0", 1), OWN)).status == 404


@pytest.mark.parametrize("path", [PAGE, EVENTS, "/-/page/style.css"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_the_page_is_only_read(running, path, method):
    assert (await running.ask(method, path)).status == 405


async def test_the_page_shows_upstreams_token_and_requests(running, server):
    await running.get(PROJECT, {"User-Agent": UV})
    await running.get("/a%2fb", {"User-Agent": UV})
    page = await read_page(running)

    assert server.url in page.text
    assert "environment variable PPMPROXY_TOKEN" in page.by_id["upstream-0"]
    assert "answers" in page.by_id["upstream-0"]
    assert "Everything works." in page.by_id["verdict"]
    assert page.numbers["total"] == 2
    assert [(row[1], row[3]) for row in page.rows] == [(UV, "400"), (UV, "200")]
    assert "bad-target" in page.rows[0][4]
    assert f"http://127.0.0.1:{running.port}/pypi/latest/simple/" in page.by_id["clients"]


async def test_a_request_of_the_page_is_counted_nowhere(running):
    for path in (PAGE, "/", "/-/status", "/-/live"):
        await running.get(path, TYPED)

    assert running.state.requests == 0


async def test_the_filter_works_without_a_script(running):
    await running.get(PROJECT, {"User-Agent": UV})
    await running.get("/a%2fb", {"User-Agent": UV})

    by_text = await read_page(running, "/-/?q=HELLO")
    failed = await read_page(running, "/-/?q=&failed=1")
    strange = await read_page(running, "/-/?q=%22%3E%3Cscript%3E&q=%ff&failed")

    assert [row[3] for row in by_text.rows] == ["200"]
    assert [row[3] for row in failed.rows] == ["400"]
    assert len([tag for tag, _ in strange.tags if tag == "script"]) == 1


async def test_what_a_client_or_a_server_says_is_text(running, server):
    server.add_fault("*/simple/hello/", Status(403, HOSTILE))
    await running.get("/pypi/latest/simple/%3Cimg%20src=x%3E/", {"User-Agent": HOSTILE})
    await running.get(PROJECT, {"User-Agent": HOSTILE})
    page = await running.get(PAGE, TYPED)

    assert [tag for tag, _ in PageReader(page.text()).tags if tag == "img"] == []
    assert "<img" not in page.text()
    assert "&lt;img" in page.text()


async def test_no_token_is_on_the_page(running, server):
    """Nor where a client or a server says it: it is masked there, too."""
    server.add_fault("*/simple/hello/", Status(403, f"no: {server.token}"))
    await running.get(PROJECT, {"User-Agent": f"uv/1 {server.token}"})
    await running.get(f"/pypi/latest/simple/{server.token}/", {"User-Agent": server.token})
    async with live_window(running) as next_message:
        told = json.dumps(await next_message())

    assert server.token not in (await running.get(PAGE, TYPED)).text()
    assert server.token not in told
    assert "****" in told


@pytest.mark.parametrize("token", ["a&b<c>\"d'e&f&g&h", "plain-token-of-sixteen"])
async def test_a_token_is_masked_in_the_form_that_it_has_in_html(server, proxy, token):
    server.accept_token(token)
    running = await proxy(server, environ={"PPMPROXY_TOKEN": token})
    await running.get(PROJECT, {"User-Agent": f"x{token}"})
    page = await read_page(running)

    assert token not in page.text
    assert page.rows[0][1].startswith("x****")


async def test_an_upstream_that_does_not_answer_is_shown_with_what_to_do(running, server):
    await server.close()
    running.daemon.services.limits.max_hold = 0.1
    await running.get(PROJECT, {"User-Agent": UV})
    running.daemon.services.state.upstream("default").record_failure(time.time(), "no route to the host")
    page = await read_page(running)

    assert "Something is wrong." in page.by_id["verdict"]
    assert "no route to the host" in page.by_id["upstream-0"]
    assert "ppmproxy doctor" in page.by_id["verdict"]


async def test_an_expired_token_is_shown_as_that(server, proxy):
    token = server.accept_token(server.issue_token(lifetime=1.0))
    running = await proxy(server, environ={"PPMPROXY_TOKEN": token})
    await running.daemon.find_first_credentials()
    now = time.time() + 5
    running.daemon._dispatcher.pages = _with_clock(running, lambda: now)
    page = await read_page(running)

    assert "expired" in page.by_id["upstream-0"]
    assert "Something is wrong." in page.by_id["verdict"]


def _with_clock(running, now):
    from dataclasses import replace

    return replace(running.daemon._dispatcher.pages, now=now)
