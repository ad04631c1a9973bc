"""Claims about waiting: ten seconds after its head a request is answered, redirected to itself, or held."""

import asyncio

import pytest
from proxy_client import DEADLINE, PIP, UV, request_head, wait_until

from ppmproxy.config.model import Settings, SignIn, Upstream
from ppmproxy.index.routing import real_target_of, target_of
from ppmproxy.server.reload import InFlight
from ppmproxy.server.request_work import RequestWork
from ppmproxy.server.waiting import MAX_REDIRECTS, NextStep, Waiting, request_key
from ppmproxy.testing.package_manager import LinkStyle, NoAnswer, Stall, wheel
from ppmproxy.upstream.messages import UpstreamRequest

PAGE = "/pypi/latest/simple/hello/"
CURL = "curl/8.5.0"
HOLD = 0.2  # seconds, instead of ten


def waiting(**changed):
    usual = {
        "method": "GET",
        "raw_target": PAGE,
        "user_agent": PIP,
        "redirects": 0,
        "waits_for_sign_in": False,
        "is_draining": False,
    }
    return Waiting(**{**usual, **changed})


@pytest.mark.parametrize(
    ("changed", "step"),
    [
        ({}, NextStep.REDIRECT),
        ({"method": "HEAD"}, NextStep.REDIRECT),
        ({"user_agent": UV}, NextStep.REDIRECT),
        ({"user_agent": "Poetry/2.5.1 CPython/3.13"}, NextStep.REDIRECT),
        ({"user_agent": "pdm/2.29.3"}, NextStep.REDIRECT),
        ({"redirects": MAX_REDIRECTS - 1}, NextStep.REDIRECT),
        ({"redirects": MAX_REDIRECTS}, NextStep.GIVE_UP),
        ({"redirects": MAX_REDIRECTS, "waits_for_sign_in": True}, NextStep.GIVE_UP),
        ({"user_agent": CURL}, NextStep.HOLD),
        ({"user_agent": "R (4.4.1 x86_64-pc-linux-gnu)"}, NextStep.HOLD),
        ({"user_agent": ""}, NextStep.HOLD),
        ({"user_agent": CURL, "waits_for_sign_in": True}, NextStep.REDIRECT),
        ({"method": "POST"}, NextStep.HOLD),
        ({"method": "POST", "redirects": MAX_REDIRECTS}, NextStep.HOLD),
        ({"is_draining": True}, NextStep.HOLD),
        ({"raw_target": "/caf\xe9/"}, NextStep.HOLD),
    ],
)
def test_the_next_step_depends_on_the_client_and_on_the_redirects_so_far(changed, step):
    assert waiting(**changed).next_step() is step


@pytest.mark.parametrize(
    ("header", "is_same"),
    [
        (("Accept", "text/html"), False),
        (("Accept-Encoding", "gzip"), False),
        (("Range", "bytes=0-1"), False),
        (("If-None-Match", '"x"'), False),
        (("If-Range", '"x"'), False),
        (("If-Modified-Since", "x"), False),
        (("User-Agent", UV), True),
        (("Cache-Control", "no-cache"), True),
    ],
)
def test_two_requests_are_the_same_when_one_response_is_good_for_both(header, is_same):
    plain = request_key("GET", "https://pm/x", [("accept", "*/*")])

    assert (request_key("GET", "https://pm/x", [("Accept", "*/*"), header]) == plain) is is_same
    assert request_key("HEAD", "https://pm/x", [("accept", "*/*")]) != plain


def test_a_request_for_a_local_path_and_one_for_a_real_url_are_not_the_same():
    default = Upstream(url="https://pm")
    target = target_of("GET", "/pypi/simple/x/", [default])
    real = real_target_of("GET", "/pypi/simple/x/", "https://pm", [default])

    keys = {RequestWork(None, one, UpstreamRequest("GET", one.url, []), InFlight()).key for one in (target, real)}

    assert real.url == target.url
    assert len(keys) == 2


# --- with real sockets ---


@pytest.fixture
async def server(package_manager):
    started = await package_manager()
    started.add(wheel("hello"))
    return started


@pytest.fixture
async def running(server, proxy):
    started = await proxy(server)
    started.daemon.services.limits.max_hold = HOLD
    started.daemon.services.limits.silence = HOLD / 2
    return started


async def follow(running, path=PAGE, agent=PIP, method="GET"):
    """Follow up to ten redirects, as uv does; returns the statuses and the last reply."""
    statuses = []
    for _ in range(MAX_REDIRECTS + 1):
        reply = await running.ask(method, path, {"User-Agent": agent})
        statuses.append(reply.status)
        if reply.status != 307:
            return statuses, reply
        assert reply.headers["Location"] == path
        assert reply.headers["Cache-Control"] == "no-store"
    pytest.fail("too many redirects")


@pytest.mark.parametrize("agent", [PIP, UV])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_slow_response_arrives_after_redirects_and_costs_one_upstream_request(running, server, agent, method):
    server.add_fault(PAGE, NoAnswer())
    following = asyncio.create_task(follow(running, agent=agent, method=method))
    await wait_until(lambda: running.state.by_status.get(307, 0) >= 3)

    server.clear_faults()
    statuses, reply = await following

    assert (set(statuses[:-1]), reply.status) == ({307}, 200)
    assert len(server.requests_for(PAGE)) == 1
    assert len(running.daemon.services.running) == 0


async def test_the_redirect_leads_to_the_raw_target(running, server):
    server.add_fault("*", NoAnswer())

    reply = await running.get("/pypi/latest/simple/a%2Bb/?x=%7E", {"User-Agent": PIP})

    assert (reply.status, reply.headers["Location"]) == (307, "/pypi/latest/simple/a%2Bb/?x=%7E")


async def test_the_redirect_never_leads_to_another_host(running, server):
    server.add_fault("*", NoAnswer())

    reply = await running.get("//evil.example/simple/", {"User-Agent": PIP})

    assert (reply.status, reply.headers["Location"]) == (307, "/evil.example/simple/")


async def test_a_patient_client_is_held(running, server):
    server.add_fault(PAGE, NoAnswer())
    held = asyncio.create_task(running.get(PAGE, {"User-Agent": CURL}))
    await asyncio.sleep(2 * HOLD)

    server.clear_faults()
    reply = await held

    assert reply.status == 200
    assert 307 not in running.state.by_status


async def test_an_upstream_that_never_answers_is_reported_after_the_last_redirect(running, server):
    server.add_fault(PAGE, NoAnswer())

    statuses, reply = await follow(running, agent=UV)

    assert statuses == [307] * MAX_REDIRECTS + [424]
    assert reply.code == "upstream-timeout"
    assert len(server.requests_for(PAGE)) == 1


async def test_read_timeout_is_reported_to_the_client_that_returns(server, proxy):
    running = await proxy(server, read_timeout=2.5 * HOLD)
    running.daemon.services.limits.max_hold = HOLD
    server.add_fault(PAGE, NoAnswer())

    statuses, reply = await follow(running)

    assert set(statuses) == {307, 200}
    assert reply.headers["Content-Type"].startswith("text/x-ppmproxy; ")
    assert reply.code == "upstream-timeout"


async def test_a_client_that_does_not_return_ends_the_upstream_request(running, server):
    running.daemon.services.running.return_window = HOLD / 2
    server.add_fault(PAGE, NoAnswer())

    await running.get(PAGE, {"User-Agent": PIP})
    await wait_until(lambda: not len(running.daemon.services.running))
    server.clear_faults()
    _, reply = await follow(running)

    assert reply.status == 200
    assert len(server.requests_for(PAGE)) == 2


async def test_a_client_that_does_not_return_counts_as_silence(running, server, logs):
    running.daemon.services.running.return_window = HOLD / 2
    server.add_fault(PAGE, NoAnswer())

    await running.get(PAGE, {"User-Agent": PIP})
    await wait_until(lambda: running.state.upstream("default").outage)

    [abandoned] = logs.events("request_abandoned")
    assert (abandoned["code"], abandoned["path"]) == ("upstream-timeout", PAGE)


@pytest.mark.parametrize("agent", [PIP, CURL])
async def test_a_client_that_leaves_a_silent_upstream_counts_as_silence(running, server, logs, agent):
    running.daemon.services.limits.max_hold = 60.0
    server.add_fault(PAGE, NoAnswer())

    asking = asyncio.create_task(running.get(PAGE, {"User-Agent": agent}))
    await wait_until(lambda: server.requests_for(PAGE))
    await asyncio.sleep(2 * HOLD)
    asking.cancel()
    await wait_until(lambda: logs.requests)

    assert logs.requests[0]["code"] == "upstream-timeout"
    assert logs.requests[0]["level"] == "warning"
    assert running.state.by_code == {"upstream-timeout": 1}
    assert "had not answered" in running.state.upstream("default").outage.why


async def test_a_client_that_leaves_at_once_is_no_silence(running, server, logs):
    running.daemon.services.limits.silence = 60.0
    server.add_fault(PAGE, NoAnswer())

    asking = asyncio.create_task(running.get(PAGE))
    await wait_until(lambda: server.requests_for(PAGE))
    asking.cancel()
    await wait_until(lambda: logs.requests)

    assert logs.requests[0]["code"] == "client-left"
    assert running.state.upstream("default").outage is None


async def test_a_page_that_stalls_is_continued_where_it_stopped(running, server):
    server.add_fault(PAGE, Stall(after=40))
    following = asyncio.create_task(follow(running))
    await wait_until(lambda: running.state.by_status.get(307, 0) >= 2)

    server.clear_faults()
    _, reply = await following

    assert reply.status == 200
    assert b"hello-1.0" in reply.body
    assert len(server.requests_for(PAGE)) == 1


async def test_a_file_that_stalls_is_logged_as_that_when_its_client_leaves(running, server, logs):
    server.add(wheel("large", payload=bytes(1 << 20)))
    file = server.catalog.files("pypi", "large")[0]
    path = f"/pypi/latest/packages/{file.id}/{file.filename}"
    server.add_fault(path, Stall(after=1000))

    async with running.connected() as (reader, writer):
        writer.write(request_head(path))
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(2 * HOLD)
    await wait_until(lambda: logs.requests)

    assert logs.requests[0]["code"] == "upstream-timeout"
    assert "in the middle of its response" in logs.requests[0]["detail"]
    assert running.state.upstream("default").outage


async def test_clients_that_ask_for_different_things_do_not_join_each_other(running, server):
    server.add_fault(PAGE, NoAnswer())

    await running.get(PAGE, {"User-Agent": PIP, "Accept": "text/html"})
    await running.get(PAGE, {"User-Agent": PIP, "Accept": "application/vnd.pypi.simple.v1+json"})
    await wait_until(lambda: len(server.requests_for(PAGE)) >= 2)

    assert len(server.requests_for(PAGE)) == 2


async def test_a_client_gets_the_page_of_its_own_mount(server, proxy, upstream):
    server.links = LinkStyle.ABSOLUTE
    running = await proxy(server, upstream(server, name="other", mount="/other"))
    running.daemon.services.limits.max_hold = HOLD
    server.add_fault(PAGE, NoAnswer())

    await running.get(PAGE, {"User-Agent": PIP})
    server.clear_faults()
    await asyncio.sleep(HOLD)  # the page of the first client is prepared by now
    _, reply = await follow(running, f"/other{PAGE}")

    assert reply.status == 200
    assert b'href="/other/' in reply.body


async def test_with_another_token_the_request_begins_anew(server, proxy, tmp_path):
    token = tmp_path / "token"
    token.write_text(server.token)
    running = await proxy(server, environ={"PPMPROXY_TOKEN_FILE": str(token)})
    running.daemon.services.limits.max_hold = HOLD
    server.add_fault(PAGE, NoAnswer())
    first = await running.get(PAGE, {"User-Agent": PIP})
    await wait_until(lambda: server.requests_for(PAGE))

    token.write_text("of-somebody-else")
    second = await running.get(PAGE, {"User-Agent": PIP})
    while len(server.requests_for(PAGE)) < 2:  # pip goes on asking, where the token's file takes longer to read
        assert (await running.get(PAGE, {"User-Agent": PIP})).status == 307

    offered = [f"Bearer {server.token}", "Bearer of-somebody-else"]
    assert (first.status, second.status) == (307, 307)
    assert [seen.authorization for seen in server.requests_for(PAGE)] == offered


async def test_redirects_for_a_sign_in_and_for_the_upstream_are_counted_together(package_manager, proxy):
    server = await package_manager(device_interval=0.05, enforces_interval=False)
    server.add(wheel("hello"))
    running = await proxy(server, environ={}, sign_in=SignIn.ALWAYS)
    running.daemon.services.limits.max_hold = HOLD
    following = asyncio.create_task(follow(running, agent=UV))
    await wait_until(lambda: running.state.by_status.get(307, 0) >= 4)
    server.add_fault(PAGE, NoAnswer())
    server.approve()

    statuses, reply = await following

    assert statuses == [307] * MAX_REDIRECTS + [424]
    assert reply.code == "upstream-timeout"


async def test_a_stopping_daemon_redirects_nobody(server, proxy):
    running = await proxy(server, settings={"drain_timeout": DEADLINE})
    running.daemon.services.limits.max_hold = 3.0
    server.add_fault(PAGE, NoAnswer())
    asking = asyncio.create_task(running.get(PAGE, {"User-Agent": PIP}))
    await wait_until(lambda: server.requests_for(PAGE))
    stopping = asyncio.create_task(running.daemon.stop())
    await asyncio.sleep(3.5)

    server.clear_faults()
    reply = await asking
    await stopping

    assert reply.status == 200


async def test_a_reload_lets_the_running_request_finish(running, server, upstream):
    server.add_fault(PAGE, NoAnswer())
    first = await running.get(PAGE, {"User-Agent": PIP})
    settings = running.daemon.services.settings
    running.daemon.reload(Settings(listen=settings.listen, upstreams=(upstream(server, read_timeout=50.0),)))

    server.clear_faults()
    _, reply = await follow(running)

    assert (first.status, reply.status) == (307, 200)
    assert len(server.requests_for(PAGE)) == 1
