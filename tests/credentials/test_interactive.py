import asyncio
import gc
import logging
import sys

import aiohttp
import pytest
from malformed_sign_ins import DIGITS, GRANT, MALFORMED
from processes import ppmproxy_run
from proxy_client import DEADLINE, PIP, UV, wait_until

from ppmproxy.auth.credential import Use
from ppmproxy.config.model import CredentialSpec, SignIn
from ppmproxy.credentials.interactive import COOL_DOWN
from ppmproxy.errors import TokenMissingError
from ppmproxy.server.waiting import MAX_REDIRECTS
from ppmproxy.testing.package_manager import Status, wheel

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAGE = "/pypi/latest/simple/hello/"


@pytest.fixture
async def server(package_manager):
    started = await package_manager(device_interval=0.05, slow_down_step=0.05, enforces_interval=False)
    started.add(wheel("hello"))
    return started


@pytest.fixture
async def running(server, proxy):
    """A daemon without a token that holds waiting clients for less than ten seconds."""
    started = await proxy(server, environ={}, sign_in=SignIn.ALWAYS)
    started.daemon.services.limits.max_hold = 2.0
    return started


async def follow(running, path, agent):
    """Follow up to ten redirects, as a client does; returns the statuses and the last reply."""
    statuses = []
    for _ in range(11):
        reply = await running.get(path, {"User-Agent": agent})
        statuses.append(reply.status)
        if reply.status != 307:
            return statuses, reply
        assert reply.headers["Location"] == path
    pytest.fail("too many redirects")


@pytest.mark.parametrize("agent", [PIP, UV])
async def test_a_waiting_request_continues_after_the_sign_in(running, server, agent):
    waiting = asyncio.create_task(follow(running, PAGE, agent))
    flow = await server.next_sign_in()
    server.approve(flow.user_code)
    statuses, reply = await waiting

    assert statuses[-1] == 200
    assert b"hello-1.0" in reply.body


@pytest.mark.parametrize("agent", ["pip", "uv"])
async def test_waiting_requests_share_one_sign_in(running, server, agent):
    running.daemon.services.limits.max_hold = 0.3  # nine redirects take longer than the interval between two polls
    waiting = [asyncio.create_task(follow(running, PAGE, f"{agent}/{n}")) for n in range(10)]
    await server.next_sign_in()
    await wait_until(lambda: running.state.by_status.get(307, 0) >= 10)
    server.approve()
    outcomes = await asyncio.gather(*waiting)

    assert {statuses[-1] for statuses, _ in outcomes} == {200}
    assert len(server.requests_for("*/__api__/device")) == 1


async def test_the_token_is_stored_where_posit_keyring_finds_it(running, server, tmp_path):
    waiting = asyncio.create_task(follow(running, PAGE, UV))
    await server.next_sign_in()
    server.approve()
    await waiting

    kept = tomllib.loads((tmp_path / ".ppm" / "tokens.toml").read_text())
    (entry,) = kept["connections"]

    assert entry["address"] == server.url
    assert entry["auth_type"] == "sso"
    assert (tmp_path / ".ppm" / "tokens.toml").stat().st_mode & 0o777 == 0o600


async def test_a_token_that_cannot_be_stored_is_used_from_memory_and_stored_at_the_end(running, server, tmp_path, logs):
    (tmp_path / ".ppm").write_text("a file in place of the folder")
    waiting = asyncio.create_task(follow(running, PAGE, UV))
    await server.next_sign_in()
    server.approve()
    statuses, _ = await waiting
    running.daemon.reload(running.daemon.services.settings)
    _, after_reload = await follow(running, PAGE, UV)
    (shown,) = (await running.get("/-/status")).json()["upstreams"]

    (tmp_path / ".ppm").unlink()
    await running.daemon.stop()

    tokens = tmp_path / ".ppm" / "tokens.toml"
    assert (statuses[-1], after_reload.status) == (200, 200)
    assert len(server.requests_for("*/__api__/device")) == 1
    assert f"{tokens} cannot be written: " in shown["troubles"][0]
    assert [event["why"] for event in logs.events("sign_in_token_unsaved")] == [shown["troubles"][0].partition(": ")[2]]
    assert server.url in tokens.read_text()


async def test_after_the_last_redirect_the_error_names_page_and_code(running, server):
    running.daemon.services.limits.max_hold = 0.1
    statuses, reply = await follow(running, PAGE, UV)

    (flow,) = server.pending_sign_ins
    assert statuses == [307] * MAX_REDIRECTS + [407]
    assert reply.code == "sign-in-needed"
    assert flow.user_code in reply.json()["detail"]


async def test_a_refused_sign_in_is_reported_and_no_other_starts_at_once(running, server):
    waiting = asyncio.create_task(follow(running, PAGE, UV))
    await server.next_sign_in()
    server.deny()
    _, reply = await waiting
    _, again = await follow(running, PAGE, UV)

    assert (reply.status, reply.code) == (407, "sign-in-needed")
    assert (again.status, again.code) == (407, "sign-in-needed")
    assert len(server.requests_for("*/__api__/device")) == 1


async def test_pip_shows_a_refused_sign_in(running, server):
    waiting = asyncio.create_task(follow(running, PAGE, PIP))
    await server.next_sign_in()
    server.deny()
    _, reply = await waiting

    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/x-ppmproxy; the sign-in to ")


@pytest.mark.parametrize("what", MALFORMED)
async def test_a_malformed_response_ends_a_sign_in_with_an_error_of_our_own(running, server, logs, caplog, what):
    endpoint, body = MALFORMED[what]
    server.add_fault(f"*/__api__/{endpoint}", Status(200, body=body))
    waiting = asyncio.create_task(follow(running, PAGE, UV))
    if endpoint != "device":
        await server.next_sign_in()
        server.approve()
    _, reply = await waiting
    gc.collect()

    assert (reply.status, reply.code) == (424, "upstream-unexpected")
    assert [event["why"] for event in logs.events("sign_in_failed")] != []
    assert "Traceback" not in logs.text
    assert [record for record in caplog.records if record.name == "asyncio" and record.levelno > logging.INFO] == []


async def test_a_grant_with_absurd_times_can_still_be_confirmed(running, server):
    times = b'"interval": %s, "expires_in": %s' % (DIGITS, DIGITS)
    server.add_fault("*/__api__/device", Status(200, body=GRANT % times))
    server.add_fault("*/__api__/device_access", Status(200, body=b'{"id_token": "e30.e30.x"}'))
    server.add_fault("*/__api__/token", Status(200, body=b'{"access_token": "%s"}' % server.token.encode()))

    statuses, _ = await follow(running, PAGE, UV)

    assert statuses[-1] == 200


async def test_a_server_without_single_sign_on_starts_no_sign_in(server, running):
    server.sso = False

    _, reply = await follow(running, PAGE, UV)

    assert reply.code == "token-missing"
    assert server.requests_for("*/__api__/device") == []


async def test_a_server_that_claims_single_sign_on_without_it_is_an_error(server, running):
    server.offers_device = False

    _, reply = await follow(running, PAGE, UV)

    assert reply.status == 407
    assert "sign-in" in reply.json()["title"]


@pytest.mark.parametrize("sign_in", [SignIn.NEVER, SignIn.AUTO])
async def test_no_sign_in_starts_where_nobody_would_see_it(server, proxy, sign_in):
    running = await proxy(server, environ={}, sign_in=sign_in)

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert (reply.status, reply.code) == (407, "token-missing")
    assert server.requests_for("*/__api__/device") == []


ON_A_TERMINAL = (
    "import os, pty, sys\n"
    "ours, theirs = pty.openpty()\n"
    "os.set_inheritable(ours, True)\n"
    "os.dup2(theirs, 2)\n"
    "os.execv(sys.argv[1], sys.argv[1:])\n"
)


@pytest.mark.skipif(sys.platform == "win32", reason="terminals, and BROWSER as a script, as POSIX systems have them")
@pytest.mark.parametrize("seen_by", ["terminal", "browser"])
async def test_a_sign_in_starts_where_a_person_can_see_it(server, ca_file, tmp_path, seen_by):
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}.part && mv {opened}.part {opened}\n')
    browser.chmod(0o700)
    environ = {"PPMPROXY_UPSTREAM": server.url, "PPMPROXY_CA_FILE": str(ca_file)}
    environ |= {"BROWSER": f"{browser} %s"} if seen_by == "browser" else {}
    command = (sys.executable, "-c", ON_A_TERMINAL) if seen_by == "terminal" else ()

    async with (
        ppmproxy_run(tmp_path, command=command, **environ) as running,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE)) as client,
    ):
        asking = asyncio.create_task(client.get(running.url + PAGE, headers={"User-Agent": UV}))
        flow = await asyncio.wait_for(server.next_sign_in(), DEADLINE)
        if seen_by == "browser":
            await wait_until(opened.exists)
        server.approve()
        reply = await asking

    assert reply.status == 200
    assert f'"code": "{flow.user_code}"' in running.log
    assert not opened.exists() or opened.read_text() == f"{server.url}/__device__?user_code={flow.user_code}"


@pytest.mark.parametrize(
    "specs",
    [
        (CredentialSpec("env", variable="X"),),
        (CredentialSpec("tokens", repos=("another",)),),
        (CredentialSpec("tokens", use=Use.UPLOAD),),
        (CredentialSpec("none"), CredentialSpec("tokens")),
    ],
)
async def test_no_sign_in_starts_when_the_chain_would_not_find_its_token(server, proxy, specs):
    running = await proxy(server, environ={}, sign_in=SignIn.ALWAYS, credentials=specs)

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert (reply.status, reply.code) == (407, "token-missing")
    assert server.requests_for("*/__api__/device") == []


async def test_a_sign_in_that_did_not_help_is_not_repeated_at_once(running, server):
    """A person without access is asked for one sign-in only, however often a client asks."""
    server.add_fault("*/simple/*", Status(401))
    waiting = asyncio.create_task(follow(running, PAGE, UV))
    await server.next_sign_in()
    server.approve()
    _, first = await waiting
    _, second = await follow(running, PAGE, UV)
    sign_in = running.daemon.services.sessions["default"].sign_in
    sign_in._ended_at -= COOL_DOWN
    later = asyncio.create_task(follow(running, PAGE, UV))
    await server.next_sign_in()
    server.approve()
    await later

    assert (first.code, second.code) == ("token-rejected", "token-rejected")
    assert len(server.requests_for("*/__api__/device")) == 2


async def test_a_request_just_after_a_sign_in_starts_no_other(running, server):
    """The request's look-up ended before the token was stored."""
    waiting = asyncio.create_task(follow(running, PAGE, UV))
    await server.next_sign_in()
    server.approve()
    await waiting

    await running.daemon.services.sessions["default"].sign_in.wait(TokenMissingError("none was found"))

    assert len(server.requests_for("*/__api__/device")) == 1


async def test_only_get_requests_wait(running, server):
    head = await running.ask("HEAD", PAGE, {"User-Agent": UV})

    assert head.status == 407
    assert server.pending_sign_ins == []


async def test_an_expired_token_leads_to_a_sign_in_too(server, proxy):
    token = server.issue_token(lifetime=5)
    server.clock_offset = 3600
    running = await proxy(server, environ={"PPMPROXY_TOKEN": token}, sign_in=SignIn.ALWAYS)
    running.daemon.services.limits.max_hold = 2.0
    waiting = asyncio.create_task(follow(running, PAGE, UV))
    await server.next_sign_in()
    server.approve()

    statuses, _ = await waiting

    assert statuses[-1] == 200


async def test_a_client_that_leaves_does_not_end_the_sign_in(running, server):
    waiting = asyncio.create_task(follow(running, PAGE, UV))
    await server.next_sign_in()
    waiting.cancel()
    server.approve()
    await wait_until(lambda: running.daemon.services.sessions["default"].sign_in.grant is None)

    statuses, _ = await follow(running, PAGE, UV)
    assert statuses[-1] == 200


async def test_stopping_gives_up_a_sign_in_under_way(running, server):
    waiting = asyncio.create_task(follow(running, PAGE, UV))
    await server.next_sign_in()
    waiting.cancel()

    await running.daemon.stop()
