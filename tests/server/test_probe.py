"""Claims about `probe`: asking for readiness probes the upstream, seldom, and never waits for it."""

import asyncio
import time

import pytest
from proxy_client import wait_until

from ppmproxy.server.probe import BAD_NEWS_LASTS, GOOD_NEWS_LASTS, PAGE
from ppmproxy.server.state import MAX_SILENCE
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
def probe():
    """Probes a running daemon's upstreams, by a clock of the test's, until each probe is over."""

    async def probed(running, clock):
        upstream_probe = running.daemon._probe
        for session in running.daemon.services.sessions.values():
            object.__setattr__(session, "now", clock)
        upstream_probe.poke(running.daemon.services.sessions, running.daemon.services.in_flight)
        await asyncio.gather(*upstream_probe._probes.values())

    return probed


def pings(server):
    return len(server.requests_for(PAGE))


async def test_asking_for_readiness_starts_one_probe_without_a_token_and_does_not_wait_for_it(server, proxy):
    server.add_fault(PAGE, NoAnswer())
    running = await proxy(server)

    replies = [await running.get(READY) for _ in range(3)]
    await wait_until(lambda: pings(server))

    assert [(reply.status, reply.text()) for reply in replies] == [(200, "ready\n")] * 3
    assert [seen.authorization for seen in server.requests] == [None]


async def test_no_other_page_starts_a_probe(server, proxy):
    running = await proxy(server)

    for path in ("/-/live", "/-/startup", "/-/status"):
        await running.get(path)

    assert server.requests == []


async def test_the_public_default_is_never_probed(proxy, upstream, server):
    running = await proxy(upstream(server, configured=False))

    await running.get(READY)
    await asyncio.sleep(0)

    assert running.daemon._probe._probes == {}


async def test_after_a_request_no_probe_is_needed(server, proxy):
    running = await proxy(server)

    await running.get(INDEX)
    await running.get(READY)
    await asyncio.sleep(0)

    assert pings(server) == 0


async def test_good_news_last_and_bad_news_do_not_last_as_long(server, proxy, probe):
    running, clock = await proxy(server), Clock()

    await probe(running, clock)
    clock.time += GOOD_NEWS_LASTS - 1
    await probe(running, clock)
    after_good_news = pings(server)
    clock.time += 1
    server.add_fault(PAGE, Status(500))
    await probe(running, clock)
    clock.time += BAD_NEWS_LASTS
    await probe(running, clock)

    assert (after_good_news, pings(server)) == (1, 3)


@pytest.mark.parametrize("how", [Status(401), Status(404), Status(403)])
async def test_every_status_below_500_counts_as_an_answer(server, proxy, probe, how):
    server.add_fault(PAGE, how)
    running, clock = await proxy(server), Clock()

    await probe(running, clock)

    upstream = running.state.upstream("default")
    assert (upstream.answered_at, upstream.outage) == (clock.time, None)


async def test_an_upstream_that_is_gone_makes_the_daemon_unready_after_a_minute_and_no_sooner(server, proxy, probe):
    running, clock = await proxy(server), Clock()
    await server.close()

    await probe(running, clock)
    outage = running.state.upstream("default").outage
    clock.time += MAX_SILENCE
    await probe(running, clock)

    assert outage.since == clock.time - MAX_SILENCE
    assert running.state.upstream("default").outage.since == outage.since
    assert "refused" in outage.why or "connect" in outage.why
    reply = await running.get(READY)
    assert (reply.status, len(reply.text().splitlines())) == (503, 1)
    assert reply.text().startswith("default: no good answer since ")


async def test_a_failed_request_is_known_without_a_probe(server, proxy):
    running = await proxy(server, read_timeout=0.3)
    await server.close()

    await running.get(INDEX)

    assert running.state.upstream("default").outage


async def test_a_refusal_is_an_answer(server, proxy):
    running = await proxy(server, environ={"PPMPROXY_TOKEN": "of-another-server"})

    await running.get(INDEX)

    upstream = running.state.upstream("default")
    assert upstream.answered_at
    assert upstream.outage is None


async def test_a_rejected_token_makes_the_daemon_unready_until_there_is_another_one(server, proxy, probe, tmp_path):
    token = tmp_path / "token"
    token.write_text("of-another-server")
    running, clock = await proxy(server, environ={"PPMPROXY_TOKEN_FILE": str(token)}), Clock()
    clock.time = time.time()  # before the refusal, which is counted by that

    await running.get(INDEX)
    refused = await running.get(READY)
    await probe(running, clock)
    still = await running.get(READY)
    token.write_text(server.token)
    clock.time += BAD_NEWS_LASTS
    await probe(running, clock)
    renewed = await running.get(READY)

    assert (refused.status, still.status, renewed.status) == (503, 503, 200)
    assert "was refused" in refused.text()


async def test_a_daemon_that_stops_cancels_its_probes(server, proxy):
    server.add_fault(PAGE, NoAnswer())
    running = await proxy(server)
    await running.get(READY)
    await wait_until(lambda: pings(server))

    await asyncio.wait_for(running.daemon.stop(), 5)

    assert all(look.done() for look in running.daemon._probe._probes.values())


async def test_a_repository_that_rejects_the_token_leaves_the_daemon_ready(package_manager, proxy):
    server = await package_manager(repos=("pypi", "internal"))
    server.add(wheel("hello"))
    server.add_fault("/internal/*", Status(401))
    running = await proxy(server)
    await running.get(INDEX)

    refused = await running.get("/internal/latest/simple/hello/")
    ready = await running.get(READY)

    assert refused.code == "token-rejected"
    assert ready.status == 200
    assert "was refused for read internal" in ready.text()
