"""Claims about web pages in a real browser: whatever one tries, the upstream hears nothing and it reads nothing."""

import json
from pathlib import Path

import pytest
from aiohttp import WSMsgType, web
from chromium import EVIL
from free_ports import free_port
from page_in_browser import PATIENCE, new_page
from proxy_client import wait_until

pytestmark = pytest.mark.real

ATTACKS = Path(__file__).with_name("attacks.js").read_text()
PATHS = (
    *("/pypi/latest/simple/hello/", "/__api__/status", "/upload/pypi/internal"),
    *("/-/status", "/-/metrics", "/-/live", "/-/proof?nonce=" + "ab" * 32),
    *("/", "/-/", "/-/page/events", "/-/sign-in", "/-/sign-out", "/-/shutdown"),
)
FEWEST = 12  # of the attempts on one path that have to have reached the proxy, or else this would prove little


@pytest.fixture
async def running(server, proxy):
    return await proxy(server, uploads=True)


@pytest.fixture
async def careless():
    """Another server of this machine: it lets every page read everything. It has the attacker's page too.

    It listens on both addresses of `localhost`, of which a browser tries the newer one first.
    """
    site = web.Application()
    site.router.add_route("*", "/{path:.*}", answer_anything)
    runner = web.AppRunner(site, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    for host in ("127.0.0.1", "::1"):
        await web.TCPSite(runner, host, port).start()
    yield port
    await runner.cleanup()


GIF = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002014400 3b".replace(" ", "")
)


async def answer_anything(request):
    if request.path == "/page":
        return web.Response(text="<body></body>", content_type="text/html")
    open_to_all = {
        "Access-Control-Allow-Origin": request.headers.get("Origin", "*"),
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, DELETE",
        "Access-Control-Allow-Headers": "X-Ppmproxy-Secret, X-Ppmproxy-Page-Token",
        "Access-Control-Allow-Private-Network": "true",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }
    if request.headers.get("Upgrade") == "websocket":
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.CLOSE:
                break
        return socket
    if "text/event-stream" in request.headers.get("Accept", ""):
        return web.Response(body=b"data: told\n\n", content_type="text/event-stream", headers=open_to_all)
    body, kind = {
        "image": (GIF, "image/gif"),
        "script": (b"export default 1;", "text/javascript"),
        "style": (b"p { color: red }", "text/css"),
    }.get(request.headers.get("Sec-Fetch-Dest", ""), (b"careless", "text/plain"))
    return web.Response(body=body, content_type=kind, headers=open_to_all)


async def attacker(browser, address):
    """A page at an address, ready to attack; "null" is one without an origin."""
    page = await new_page(browser)
    await page.goto("data:text/html,<body></body>" if address == "null" else address)
    await page.add_script_tag(content=ATTACKS)
    return page


def lines_since(logs, count):
    return logs.requests[count:]


# --- the attempts themselves ---


async def test_the_attempts_do_read_from_a_server_that_is_careless(browser, careless):
    page = await attacker(browser, f"http://localhost:{careless}/page")
    names = [
        *("fetch", "fetch with credentials", "fetch with a header of its own", "request of old"),
        *("post", "put", "delete", "image", "events", "socket"),
    ]

    read = await page.evaluate(
        "([url, longest, names]) => attack(url, longest, names)", [f"http://127.0.0.1:{careless}/x", PATIENCE, names]
    )

    assert [name for name in names if read[name] is None] == []
    assert read["fetch"] == "200 careless"


# --- from another origin ---


@pytest.mark.parametrize("origin", ["127.0.0.1", "localhost", EVIL, "null"])
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]"])
async def test_a_page_of_another_origin_reads_nothing_and_the_upstream_receives_nothing(
    browser, careless, running, server, logs, origin, name
):
    page = await attacker(browser, origin if origin == "null" else f"http://{origin}:{careless}/page")

    for path in PATHS:
        before = len(logs.requests)
        read = await page.evaluate("url => attack(url)", f"http://{name}:{running.port}{path}")

        assert {attempt: text for attempt, text in read.items() if text is not None} == {}, path
        await wait_until(lambda before=before: len(lines_since(logs, before)) >= FEWEST)
        told = lines_since(logs, before)
        assert {(line["status"], line["code"]) for line in told} == {(403, "forbidden-client")}, path
    assert server.requests == []


@pytest.mark.parametrize("path", PATHS)
async def test_a_page_cannot_send_its_visitor_there_either(browser, careless, running, server, path):
    page = await attacker(browser, f"http://{EVIL}:{careless}/page")

    async with page.expect_navigation() as navigation:
        await page.evaluate("url => { location.href = url }", running.url + path)
    response = await navigation.value

    assert (response.status, response.headers["x-ppmproxy-error"]) == (403, "forbidden-client")
    assert server.requests == []


# --- from a name that was rebound ---


@pytest.mark.parametrize("name", [EVIL, f"127.0.0.1.{EVIL}", f"localhost.{EVIL}"])
async def test_a_page_that_rebound_its_name_to_this_machine_reads_only_that_it_may_not(
    browser, running, server, logs, name
):
    """Its first answer came from elsewhere; from then on its name leads here, and all it asks is of its own origin."""
    address = f"http://{name}:{running.port}"
    page = await new_page(browser)
    await page.route(f"{address}/page", lambda route: route.fulfill(body="<body></body>", content_type="text/html"))
    await page.goto(f"{address}/page")
    await page.add_script_tag(content=ATTACKS)

    for path in PATHS:
        before = len(logs.requests)
        read = await page.evaluate("url => attack(url)", address + path)

        for attempt, text in read.items():
            assert text is None or "forbidden-client" in text or text == "403 ", (path, attempt)
        await wait_until(lambda before=before: len(lines_since(logs, before)) >= FEWEST)
        told = lines_since(logs, before)
        assert {(line["status"], line["code"]) for line in told} == {(403, "forbidden-client")}, path
    assert server.requests == []


# --- and a person ---


async def test_a_person_may_type_the_address_of_an_own_page(browser, running):
    page = await new_page(browser)

    response = await page.goto(running.url + "/-/status")

    assert response.status == 200
    assert json.loads(await response.text())["ready"] is True
    assert response.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


async def test_a_person_who_types_the_address_of_a_package_is_told_why_not(browser, running, server):
    page = await new_page(browser)

    response = await page.goto(running.url + PATHS[0])

    assert response.status == 403
    assert "a web page, which may not use ppmproxy" in await response.text()
    assert server.requests == []


async def test_a_person_who_types_the_address_of_the_metrics_reads_that_they_are_not_for_browsers(browser, running):
    page = await new_page(browser)

    response = await page.goto(running.url + "/-/metrics")

    assert (response.status, response.headers["x-ppmproxy-error"]) == (403, "forbidden-client")
    assert "ppmproxy_requests_total" not in await page.content()
