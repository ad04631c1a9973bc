"""Claims about acting on the page: who may, and signing in and out."""

import asyncio

import pytest
import real_users
from page_reader import OWN, PAGE, TYPED, acting_headers, page_token, read_page
from proxy_client import PAGE as PROJECT
from proxy_client import UV, body_of, request_head, status_of, wait_until

from ppmproxy.config.model import Access, AccessRule, CredentialSpec, SignIn
from ppmproxy.testing.package_manager import Status

two_users = real_users.two_users


SIGN_IN, SIGN_OUT = "/-/sign-in", "/-/sign-out"


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
