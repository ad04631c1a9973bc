"""Claims about `probe`: who asks for readiness has the upstream looked at, seldom, and never waits for it."""

import asyncio
import time

import pytest
from proxy_client import wait_until

from ppmproxy.server.probe import BAD_NEWS_LASTS, NEWS_LASTS, PAGE
from ppmproxy.server.state import PATIENCE
from ppmproxy.testing.package_manager import NoAnswer, Status, wheel

READY, INDEX = "/-/ready", "/pypi/latest/simple/hello/"


@pytest.fixture
async def server(package_manager):
    server = await package_manager()
    server.add(wheel("hello"))
    return server


class Clock:
    """A clock that a test sets."""

    def __init__(self):
        self.time = 1_000_000.0

    def __call__(self):
        return self.time


@pytest.fixture
def look():
    """Has a running daemon's upstreams looked at, by a clock of the test's, until each look is over."""

    async def looked(running, clock):
        probe = running.daemon._probe
        for session in running.daemon.services.sessions.values():
            object.__setattr__(session, "now", clock)
        probe.look(running.daemon.services.sessions)
        await asyncio.gather(*probe._looks.values())

    return looked


def pings(server):
    return len(server.requests_for(PAGE))


async def test_asking_for_readiness_starts_one_look_without_a_token_and_does_not_wait_for_it(server, proxy):
    server.add_fault(PAGE, NoAnswer())
    running = await proxy(server)

    replies = [await running.get(READY) for _ in range(3)]
    await wait_until(lambda: pings(server))

    assert [(reply.status, reply.text()) for reply in replies] == [(200, "ready\n")] * 3
    assert [seen.authorization for seen in server.requests] == [None]


async def test_nobody_is_looked_at_unasked(server, proxy):
    running = await proxy(server)

    for path in ("/-/live", "/-/startup", "/-/status"):
        await running.get(path)

    assert server.requests == []


async def test_the_public_default_is_left_alone(proxy, upstream, server):
    running = await proxy(upstream(server, configured=False))

    await running.get(READY)
    await asyncio.sleep(0)

    assert running.daemon._probe._looks == {}


async def test_a_request_is_news_enough(server, proxy):
    running = await proxy(server)

    await running.get(INDEX)
    await running.get(READY)
    await asyncio.sleep(0)

    assert pings(server) == 0


async def test_good_news_last_and_bad_news_do_not_last_as_long(server, proxy, look):
    running, clock = await proxy(server), Clock()

    await look(running, clock)
    clock.time += NEWS_LASTS - 1
    await look(running, clock)
    after_good_news = pings(server)
    clock.time += 1
    server.add_fault(PAGE, Status(500))
    await look(running, clock)
    clock.time += BAD_NEWS_LASTS
    await look(running, clock)

    assert (after_good_news, pings(server)) == (1, 3)


@pytest.mark.parametrize("how", [Status(401), Status(404), Status(403)])
async def test_whatever_it_answers_it_is_there(server, proxy, look, how):
    server.add_fault(PAGE, how)
    running, clock = await proxy(server), Clock()

    await look(running, clock)

    assert running.metrics.answered_at == {"default": clock.time}
    assert running.metrics.outages == {}


async def test_one_that_is_gone_makes_the_daemon_unready_after_a_minute_and_no_sooner(server, proxy, look):
    running, clock = await proxy(server), Clock()
    await server.close()

    await look(running, clock)
    silence = running.metrics.outages["default"]
    clock.time += PATIENCE
    await look(running, clock)

    assert silence.since == clock.time - PATIENCE
    assert running.metrics.outages["default"].since == silence.since
    assert "refused" in silence.why or "connect" in silence.why
    reply = await running.get(READY)
    assert (reply.status, len(reply.text().splitlines())) == (503, 1)
    assert reply.text().startswith("default: no good answer since ")


async def test_one_that_fails_a_real_request_is_known_without_a_look(server, proxy):
    running = await proxy(server)
    await server.close()

    await running.get(INDEX)

    assert list(running.metrics.outages) == ["default"]


async def test_a_refusal_is_an_answer(server, proxy):
    running = await proxy(server, environ={"PPMPROXY_TOKEN": "of-another-server"})

    await running.get(INDEX)

    assert list(running.metrics.answered_at) == ["default"]
    assert running.metrics.outages == {}


async def test_a_token_that_was_refused_once_is_known_bad_until_there_is_another_one(server, proxy, look, tmp_path):
    token = tmp_path / "token"
    token.write_text("of-another-server")
    running, clock = await proxy(server, environ={"PPMPROXY_TOKEN_FILE": str(token)}), Clock()
    clock.time = time.time()  # before the refusal, which is counted by that

    await running.get(INDEX)
    refused = await running.get(READY)
    await look(running, clock)
    still = await running.get(READY)
    token.write_text(server.token)
    clock.time += BAD_NEWS_LASTS
    await look(running, clock)
    renewed = await running.get(READY)

    assert (refused.status, still.status, renewed.status) == (503, 503, 200)
    assert "was refused" in refused.text()


async def test_a_daemon_that_stops_takes_its_looks_along(server, proxy):
    server.add_fault(PAGE, NoAnswer())
    running = await proxy(server)
    await running.get(READY)
    await wait_until(lambda: pings(server))

    await asyncio.wait_for(running.daemon.stop(), 5)

    assert all(look.done() for look in running.daemon._probe._looks.values())
