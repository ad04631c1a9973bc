"""Claims about the page for people: who sees it, who may act, what it shows, and that it costs nothing unasked."""

import asyncio
import json
import subprocess
import sys
import time

import pytest
import real_users
from page_reader import EVENTS, OWN, PAGE, TYPED, PageReader, acting_headers, live_window, page_token, read_page
from proxy_client import PAGE as PROJECT
from proxy_client import UV, body_of, request_head, status_of, wait_until

from ppmproxy.config.model import Access, AccessRule, CredentialSpec, SignIn
from ppmproxy.server.activity import MAX_REQUESTS
from ppmproxy.server.admin.live_feed import MAX_WINDOWS
from ppmproxy.server.request_record import RequestRecord
from ppmproxy.testing.package_manager import Status, wheel

two_users = real_users.two_users
SIGN_IN, SIGN_OUT = "/-/sign-in", "/-/sign-out"
HOSTILE = "<img src=x onerror=alert(1)>\"'&{x}"


@pytest.fixture
async def server(package_manager):
    server = await package_manager(device_interval=0.05, slow_down_step=0.05, enforces_interval=False)
    server.add(wheel("hello"))
    return server


@pytest.fixture
async def running(server, proxy):
    return await proxy(server)


@pytest.fixture
async def signed_out(server, proxy):
    return await proxy(server, environ={}, sign_in=SignIn.NEVER)


# --- the page ---


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


# --- who may act ---


async def test_the_own_user_gets_the_page_s_token_in_a_browser_and_not_otherwise(running):
    typed, followed, without = [await running.get(PAGE, headers) for headers in (TYPED, OWN, {})]

    assert page_token(typed.text()) == page_token(followed.text()) is not None
    assert page_token(without.text()) is None
    assert "data-action" not in without.text()


@pytest.mark.parametrize("name", ["devbox", "devbox:7760"])
async def test_under_a_name_of_allowed_hosts_the_page_is_shown_and_cannot_act(server, proxy, name):
    running = await proxy(server, environ={}, settings={"allowed_hosts": ("devbox",)})
    headers = await acting_headers(running, **{"Host": name, "Origin": f"http://{name}", "Sec-Fetch-Site": None})

    shown = await running.get(PAGE, {"Host": name})
    acted = await running.ask("POST", SIGN_IN, headers)

    assert (shown.status, page_token(shown.text())) == (200, None)
    assert "ppmproxy login" in shown.text()
    assert (acted.status, acted.code) == (403, "forbidden-client")


@pytest.mark.real
async def test_another_user_who_is_let_in_sees_the_page_read_only(two_users, server, proxy):
    friend, stranger = two_users
    running = await proxy(
        server, environ={}, settings={"access": Access(AccessRule.LISTED, uids=(friend.uid,))}, sign_in=SignIn.NEVER
    )
    headers = await acting_headers(running)
    await running.ask("POST", SIGN_IN, headers)
    browser = [f"{name}: {value}" for name, value in TYPED.items()]
    stolen = [f"{name}: {value}" for name, value in headers.items()]
    host = running.url.removeprefix("http://")

    async def told(user, request):
        answer = await asyncio.to_thread(user.told, request.decode(), ["127.0.0.1", running.port])
        return answer.encode("latin-1")

    shown = await told(friend, request_head(PAGE, *browser, host=host))
    acted = await told(friend, request_head(SIGN_OUT, *stolen, "Content-Length: 0", method="POST", host=host))
    refused = await told(stranger, request_head(PAGE, *browser, host=host))

    assert status_of(shown) == 200
    assert page_token(body_of(shown).decode()) is None
    assert server.pending_sign_ins[0].user_code not in body_of(shown).decode()
    assert (status_of(acted), status_of(refused)) == (403, 403)


async def test_where_everybody_may_use_the_proxy_its_own_user_can_still_act(server, proxy):
    running = await proxy(server, environ={}, settings={"access": Access(AccessRule.ANY)})

    assert page_token((await running.get(PAGE, TYPED)).text()) is not None


@pytest.mark.real
async def test_where_everybody_may_use_the_proxy_another_user_cannot_act(two_users, server, proxy):
    running = await proxy(server, environ={}, settings={"access": Access(AccessRule.ANY)})
    browser = [f"{name}: {value}" for name, value in TYPED.items()]
    request = request_head(PAGE, *browser).decode()

    shown = await asyncio.to_thread(two_users[0].told, request, ["127.0.0.1", running.port])

    assert status_of(shown.encode("latin-1")) == 200
    assert page_token(shown) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"X-Ppmproxy-Page-Token": None},
        {"X-Ppmproxy-Page-Token": ""},
        {"X-Ppmproxy-Page-Token": "0" * 64},
        {"Origin": None},
        {"Origin": "http://localhost:1"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": None},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ],
)
@pytest.mark.parametrize("path", [SIGN_IN, SIGN_OUT])
async def test_acting_takes_everything_that_only_the_page_has(signed_out, server, path, changed):
    reply = await signed_out.ask("POST", path, await acting_headers(signed_out, **changed))

    assert (reply.status, reply.code) == (403, "forbidden-client")
    assert server.requests == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
async def test_acting_is_a_post(signed_out, method):
    assert (await signed_out.ask(method, SIGN_IN)).status == 405


async def test_the_page_cannot_end_the_daemon(running):
    headers = await acting_headers(running)
    token = headers["X-Ppmproxy-Page-Token"]

    with_headers = await running.ask("POST", "/-/shutdown", {**headers, "X-Ppmproxy-Secret": token})
    without_browser = await running.ask("POST", "/-/shutdown", {"X-Ppmproxy-Secret": token})

    assert (with_headers.status, without_browser.status) == (403, 403)
    assert not running.daemon.stop_requested.is_set()


async def test_the_secret_of_the_daemon_is_no_token_of_the_page(signed_out):
    secret = signed_out.daemon._access_control.key.admin_secret

    reply = await signed_out.ask("POST", SIGN_IN, await acting_headers(signed_out, **{"X-Ppmproxy-Page-Token": secret}))

    assert reply.status == 403
    assert secret not in (await signed_out.get(PAGE, TYPED)).text()


async def test_a_page_of_an_earlier_start_is_told_to_load_again(server, proxy):
    first, second = [await proxy(server, environ={}) for _ in range(2)]
    old = page_token((await first.get(PAGE, TYPED)).text())

    reply = await second.ask("POST", SIGN_IN, await acting_headers(second, **{"X-Ppmproxy-Page-Token": old}))

    assert reply.status == 403
    assert "load the page again" in reply.json()["detail"]


# --- signing in and out ---


async def test_a_person_signs_in_and_out_on_the_page(signed_out, server, tmp_path):
    headers = await acting_headers(signed_out)

    begun = await signed_out.ask("POST", SIGN_IN, headers)
    during = await read_page(signed_out)
    server.approve(begun.json()["code"])
    await wait_until(lambda: signed_out.state.upstream("default").sign_in_end)
    after = await read_page(signed_out)
    installed = await signed_out.get(PROJECT, {"User-Agent": UV})
    ended = await signed_out.ask("POST", SIGN_OUT, headers)
    at_last = await read_page(signed_out)

    assert (begun.status, ended.status) == (202, 200)
    assert begun.json()["code"] in during.by_id["upstream-0"]
    assert any(given.get("class") == "qr" for tag, given in during.tags if tag == "svg")
    assert "signed in, for" in after.by_id["upstream-0"]
    assert installed.status == 200
    assert "none found" in at_last.by_id["upstream-0"]
    assert "[[" not in (tmp_path / ".ppm" / "tokens.toml").read_text()


async def test_a_click_joins_the_sign_in_that_an_install_waits_for(server, proxy):
    running = await proxy(server, environ={}, sign_in=SignIn.ALWAYS)
    waiting = asyncio.create_task(running.get(PROJECT, {"User-Agent": "curl/8"}))
    flow = await server.next_sign_in()

    begun = await running.ask("POST", SIGN_IN, await acting_headers(running))
    server.approve(flow.user_code)
    reply = await waiting

    assert begun.json()["code"] == flow.user_code
    assert reply.status in {200, 307}
    assert len(server.requests_for("*/__api__/device")) == 1


async def test_a_sign_in_that_is_refused_is_said_on_the_page(signed_out, server):
    await signed_out.ask("POST", SIGN_IN, await acting_headers(signed_out))
    server.deny()
    await wait_until(lambda: signed_out.state.upstream("default").sign_in_end)
    page = await read_page(signed_out)
    again = await signed_out.ask("POST", SIGN_IN, await acting_headers(signed_out))

    assert "failed" in page.by_id["upstream-0"]
    assert again.status == 202


async def test_a_sign_in_that_cannot_begin_says_why_in_the_answer_to_the_click(signed_out, server):
    server.add_fault("*/__api__/device", Status(404))

    reply = await signed_out.ask("POST", SIGN_IN, await acting_headers(signed_out))

    assert reply.status == 409
    assert "sign-in" in reply.json()["detail"]


@pytest.mark.parametrize("query", ["?upstream=other", "?upstream=default&upstream=default", "?upstream=%00"])
async def test_an_upstream_that_is_not_there_cannot_be_signed_in_to(signed_out, server, query):
    reply = await signed_out.ask("POST", SIGN_IN + query, await acting_headers(signed_out))

    assert reply.status in {400, 404}
    assert server.requests == []


async def test_no_button_is_there_where_the_token_of_a_sign_in_is_not_looked_for(server, proxy):
    running = await proxy(server, credentials=(CredentialSpec("env", variable="X"),))
    page = await running.get(PAGE, TYPED)
    reply = await running.ask("POST", SIGN_IN, await acting_headers(running))

    assert "data-action" not in page.text()
    assert reply.status == 403


# --- the live feed ---


async def test_an_open_window_sees_a_request_that_comes(running):
    async with live_window(running) as next_message:
        first = await next_message()
        await running.get(PROJECT, {"User-Agent": UV})
        told = await next_message()

    assert first["whole"]
    assert set(first["parts"]) == {"verdict", "upstream-0", "traffic"}
    assert not told["whole"]
    assert "hello" in told["rows"]
    assert "traffic" in told["parts"]


async def test_a_stopping_daemon_ends_the_windows_and_does_not_wait_for_them(server, proxy):
    running = await proxy(server, settings={"drain_timeout": 10.0})
    async with live_window(running) as next_message:
        await next_message()
        began = time.perf_counter()
        await running.daemon.stop()
        while await next_message() is not None:
            pass

    assert time.perf_counter() - began < 9


async def test_a_reload_ends_the_windows_so_that_the_old_services_are_closed(running):
    old = running.daemon.services
    async with live_window(running) as next_message:
        await next_message()
        running.daemon.reload(old.settings)
        while await next_message() is not None:
            pass
        await asyncio.wait_for(old.in_flight.wait_idle(), 5)

    async with live_window(running) as next_message:
        assert (await next_message())["whole"]


async def test_a_window_that_is_closed_leaves_nothing_behind(running):
    async with live_window(running) as next_message:
        await next_message()
        feed = running.daemon._dispatcher.person_page.feed
        assert len(feed) == 1

    await wait_until(lambda: len(feed) == 0)
    assert feed._renderings == {}


async def test_a_window_that_reads_nothing_is_closed(running):
    await running.get(PAGE, TYPED)
    page, state = running.daemon._dispatcher.person_page, running.daemon.services.state
    page.stall, page.feed._interval = 0.3, 0.0

    async with running.connected() as (_, writer):  # its reader takes a few kibibytes
        writer.write(request_head(EVENTS))
        await wait_until(lambda: len(page.feed) == 1)
        for number in range(100_000):
            path = f"/pypi/latest/simple/{number:0500}/"
            state.record_request(RequestRecord("GET", path, "default", "index", 200, user_agent=UV))
            if number % 100 == 0:
                await asyncio.sleep(0.001)
            if len(page.feed) == 0:
                break

        assert len(page.feed) == 0


async def test_a_window_too_many_is_told_so(running):
    await running.get(PAGE, TYPED)
    running.daemon._dispatcher.person_page.feed._windows = MAX_WINDOWS

    reply = await running.get(EVENTS, OWN)
    running.daemon._dispatcher.person_page.feed._windows = 0

    assert (reply.status, reply.code) == (503, "too-many-connections")


async def test_a_head_request_for_the_events_sends_none(running):
    assert (await running.ask("HEAD", EVENTS)).status == 404


# --- numbers ---


async def full_of_requests(running):
    for number in range(MAX_REQUESTS):
        path = PROJECT if number % 2 else f"/a%2f{number}"
        await running.get(path, {"User-Agent": f"{UV} ({number})"})


async def test_a_page_of_two_hundred_requests_takes_no_more_than_fifty_milliseconds(running, logs):
    await full_of_requests(running)
    for _ in range(5):
        page = await read_page(running)

    assert len(page.rows) == MAX_REQUESTS
    assert min(event["ms"] for event in logs.requests if event["path"] == PAGE) <= 50


def test_nothing_of_the_page_is_loaded_before_it_is_asked_for():
    program = (
        "import sys, ppmproxy.server.daemon, ppmproxy.cli.run\n"
        "print([name for name in sys.modules if name.startswith(('ppmproxy.server.admin.', 'segno'))])"
    )

    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)

    assert done.stdout.strip() == "['ppmproxy.server.admin.routes']"


async def test_a_daemon_that_serves_installers_has_not_loaded_the_page(running):
    await running.get(PROJECT, {"User-Agent": UV})
    await running.get("/-/status")

    assert running.daemon._dispatcher.person_page is None
