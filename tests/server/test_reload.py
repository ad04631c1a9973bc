"""Claims about `reload` and `Daemon.reload`: new requests use the new settings, older ones finish on the old."""

import asyncio
from dataclasses import replace

import pytest
from proxy_client import wait_until

from ppmproxy.config.local_address import TcpAddress
from ppmproxy.errors import ConfigError
from ppmproxy.server.reload import Draining, InFlight, merge_reloadable
from ppmproxy.testing.package_manager import NoAnswer, wheel

PAGE = "/pypi/latest/simple/hello/"


@pytest.fixture
async def servers(package_manager):
    made = [await package_manager(), await package_manager()]
    for server in made:
        server.add(wheel("hello"))
    made[1].accept_token(made[0].token)
    return made


@pytest.fixture
async def running(servers, proxy):
    return await proxy(servers[0])


def led_to(running, *upstreams, **more):
    """The settings in force, with other upstreams."""
    return replace(running.daemon.services.settings, upstreams=upstreams, **more)


async def test_new_requests_go_to_the_new_upstream(servers, running, upstream):
    await running.get(PAGE)

    running.daemon.reload(led_to(running, upstream(servers[1])))
    reply = await running.get(PAGE)

    assert reply.status == 200
    assert [len(server.requests) for server in servers] == [1, 1]


async def test_a_request_under_way_finishes_on_the_old_services_which_are_closed_then(servers, running, upstream):
    old = running.daemon.services
    servers[0].add_fault("*", NoAnswer())
    waiting = asyncio.create_task(running.get(PAGE))
    await wait_until(lambda: servers[0].requests)

    running.daemon.reload(led_to(running, upstream(servers[1])))
    other = await running.get(PAGE)
    still_open = bool(old.sessions["default"].client._pools._pools)
    servers[0].clear_faults()
    reply = await waiting
    await wait_until(lambda: not running.daemon._draining)

    assert still_open
    assert (reply.status, other.status) == (200, 200)
    assert [len(server.requests) for server in servers] == [1, 1]
    assert not old.sessions["default"].client._pools._pools


async def test_a_probe_under_way_finishes_on_the_old_services_too(servers, running, upstream):
    old = running.daemon.services
    servers[0].add_fault("*", NoAnswer())
    await running.get("/-/ready")
    await wait_until(lambda: servers[0].requests)

    running.daemon.reload(led_to(running, upstream(servers[1])))
    await asyncio.sleep(0)
    still_open = bool(old.sessions["default"].client._pools._pools)
    servers[0].clear_faults()
    await asyncio.gather(*running.daemon._probe._probes.values())
    await wait_until(lambda: not running.daemon._draining)

    assert still_open
    assert old.sessions["default"].state.answered_at


async def test_many_requests_and_many_reloads_lose_none(servers, running, upstream):
    asking = [asyncio.create_task(running.get(f"{PAGE}?{number}")) for number in range(30)]
    for number in range(6):
        running.daemon.reload(led_to(running, upstream(servers[number % 2])))
        asking += [asyncio.create_task(running.get(f"{PAGE}?{number}")) for _ in range(10)]
        await asyncio.sleep(0)
    replies = await asyncio.gather(*asking)
    await wait_until(lambda: not running.daemon._draining)

    assert {reply.status for reply in replies} == {200}
    assert running.state.requests == len(replies)


async def test_settings_that_cannot_be_used_change_nothing(servers, running, upstream, tmp_path):
    before = running.daemon.services

    with pytest.raises(ConfigError):
        running.daemon.reload(led_to(running, upstream(servers[1], ca_file=tmp_path / "none.pem")))
    with pytest.raises(ConfigError, match="is ppmproxy itself"):
        running.daemon.reload(led_to(running, upstream(servers[1], url=running.url)))

    assert running.daemon.services is before
    assert (await running.get(PAGE)).status == 200


async def test_hosts_that_are_allowed_now_are_let_in(servers, running, upstream):
    refused = await running.get(PAGE, {"Host": "sidecar"})

    running.daemon.reload(led_to(running, upstream(servers[0]), allowed_hosts=("sidecar",)))

    assert refused.status == 403
    assert (await running.get(PAGE, {"Host": "sidecar"})).status == 200


async def test_the_status_is_that_of_the_new_upstreams_and_counts_go_on(servers, running, upstream):
    await running.get(PAGE)

    running.daemon.reload(led_to(running, upstream(servers[1], name="other", mount="/")))
    document = (await running.get("/-/status")).json()

    assert [one["name"] for one in document["upstreams"]] == ["other"]
    assert document["upstreams"][0]["credential"] is None
    assert document["requests"]["total"] == 1


async def test_a_token_that_was_refused_does_not_make_the_next_upstream_unready(servers, running, upstream):
    servers[0].revoke(servers[0].token)
    for _ in range(2):
        await running.get(PAGE)
    unready = await running.get("/-/ready")

    running.daemon.reload(led_to(running, upstream(servers[1])))

    assert unready.status == 503
    assert (await running.get("/-/ready")).status == 200


async def test_stopping_closes_replaced_services_even_in_use(servers, running, upstream):
    old = running.daemon.services
    servers[0].add_fault("*", NoAnswer())
    waiting = asyncio.create_task(running.get(PAGE))
    await wait_until(lambda: servers[0].requests)
    running.daemon.reload(led_to(running, upstream(servers[1])))

    await running.daemon.stop()
    await asyncio.gather(waiting, return_exceptions=True)

    assert not old.sessions["default"].client._pools._pools


async def test_settings_that_need_a_restart_are_named_and_kept(running):
    old = running.daemon.services.settings
    new = replace(old, listen=(TcpAddress("127.0.0.1", 1),), drain_timeout=1.0, allowed_hosts=("a",))

    taken, waiting = merge_reloadable(old, new)

    assert waiting == ("listen", "drain_timeout")
    assert taken == replace(old, allowed_hosts=("a",))


async def test_nothing_is_closed_before_its_last_request_has_ended():
    in_flight, draining, closed = InFlight(), Draining(), asyncio.Event()

    async def close():
        closed.set()

    with in_flight:
        with in_flight:
            draining.add(in_flight, close)
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not closed.is_set()
    await asyncio.wait_for(closed.wait(), 5)
    await wait_until(lambda: not draining)
