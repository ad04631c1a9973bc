"""Claims about connections that are opened before the first request."""

import asyncio
import logging
import ssl

import pytest
from connection_server import UNSOLICITED, Clock, Server, body_of, response
from free_ports import reserved_port
from proxy_client import wait_until

from ppmproxy.auth.credential import Credential
from ppmproxy.auth.origin import Origin
from ppmproxy.auth.secret import Secret
from ppmproxy.config.model import Upstream
from ppmproxy.errors import UpstreamError
from ppmproxy.upstream.client import UpstreamClient
from ppmproxy.upstream.connector import DOUBTFUL_AFTER, response_handler
from ppmproxy.upstream.messages import UpstreamRequest
from ppmproxy.upstream.preconnect import UNUSED_FOR, Preconnections

COUNT = 4


async def answer(connection):
    while True:
        connection.write(response(await connection.request()))


def hangs_on(connections):
    """A server whose first connections, so many, answer nothing."""
    accepted = []

    async def serve(connection):
        accepted.append(connection)
        if len(accepted) <= connections:
            await connection.reader.read()
        await answer(connection)

    return serve


async def opened(server, count=COUNT):
    await wait_until(lambda: len(server.connections) == count)
    for _ in range(20):
        await asyncio.sleep(0)  # the client sees it, too


async def requests_at_once(client, server, count):
    bodies = await asyncio.gather(*(body_of(client, f"{server.url}/{number}") for number in range(count)))
    assert bodies == [(200, f"/{number}") for number in range(count)]


def used(server):
    return [connection.requests for connection in server.connections if connection.requests]


@pytest.mark.parametrize("is_tls", [False, True])
async def test_the_first_requests_are_given_them(client, authority, ca_file, is_tls):
    tls = {"ssl": authority.server_context(("127.0.0.1",))} if is_tls else {}
    async with Server(answer, **tls) as server:
        one = client(server, ca_file=ca_file)
        one.preconnect(COUNT)
        await opened(server)
        assert not server.requests

        await requests_at_once(one, server, COUNT)

        assert len(server.connections) == len(used(server)) == COUNT


async def test_a_request_waits_for_one_that_is_still_being_opened(client):
    async with Server(answer) as server:
        one = client(server)
        one.preconnect(COUNT)

        await requests_at_once(one, server, COUNT)

        assert len(server.connections) == COUNT


async def test_one_that_has_carried_a_token_carries_nobody_elses_request(client):
    async with Server(answer) as server:
        one = client(server)
        one.preconnect(COUNT)
        await opened(server)
        for token in ("a-token", "another-token", "a-token"):
            request = UpstreamRequest("GET", server.url, [], Credential(Secret(token), "a test"))
            async with one.send(request) as received:
                assert [chunk async for chunk in received.chunks()]

        assert sorted(map(len, used(server))) == [1, 2]
        assert len(server.connections) == COUNT


@pytest.mark.parametrize("unsolicited", [*UNSOLICITED, b""])
async def test_one_on_which_anything_was_received_is_not_used(client, unsolicited):
    accepted = []

    async def serve(connection):
        accepted.append(connection)
        if len(accepted) <= COUNT:
            connection.write(unsolicited) if unsolicited else connection.writer.close()
        await answer(connection)

    async with Server(serve) as server:
        one = client(server)
        one.preconnect(COUNT)
        await opened(server)
        await asyncio.sleep(0.05)

        assert await body_of(one, server.url + "/1") == (200, "/1")

        assert not any(connection.requests for connection in server.connections[:COUNT])


@pytest.mark.parametrize("is_certain", [True, False], ids=["the network has changed", "the machine has slept"])
async def test_none_is_used_after_a_change_of_the_network(client, is_certain):
    clock, wall = Clock(), Clock()
    async with Server(hangs_on(COUNT)) as server:
        one = client(server, clock=clock, wall=wall)
        one.preconnect(COUNT)
        await opened(server)
        if is_certain:
            one.distrust_idle()
        else:
            wall.now += 3600

        assert await body_of(one, server.url + "/1") == (200, "/1")

        assert len(server.connections) == COUNT + 1


async def test_one_that_is_not_open_in_time_is_given_up(client, authority, ca_file):
    """The first connections are taken, and their handshakes never answered."""
    accepted = []

    async def relay(reader, writer):
        while data := await reader.read(1 << 16):
            writer.write(data)

    async with Server(answer, ssl=authority.server_context(("127.0.0.1",))) as server:

        async def serve(connection):
            accepted.append(connection)
            if len(accepted) <= COUNT:
                await connection.reader.read()
                return
            reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
            try:
                await asyncio.gather(relay(connection.reader, writer), relay(reader, connection.writer))
            finally:
                writer.transport.abort()

        async with Server(serve) as silent:
            silent.url = silent.url.replace("http:", "https:")
            one = client(silent, ca_file=ca_file)
            one.preconnect(COUNT)
            await opened(silent)

            await requests_at_once(one, silent, 2)

    assert len(used(server)) == 2


async def test_a_failure_is_the_first_requests(client, caplog):
    with reserved_port() as port, caplog.at_level(logging.DEBUG):
        url = f"http://127.0.0.1:{port}"
        one = client(type("Closed", (), {"url": url}))
        one.preconnect(COUNT)
        await asyncio.sleep(0.1)

        with pytest.raises(UpstreamError, match="refused"):
            async with one.send(UpstreamRequest("GET", url, []), deadline=0):
                pass

    assert not caplog.records


@pytest.mark.parametrize("options", [{"offline": True}, {"proxy": "http://127.0.0.1:9"}], ids=["offline", "proxy"])
async def test_none_is_opened_where_a_request_would_not_use_it(client, options):
    async with Server(answer) as server:
        client(server, **options).preconnect(COUNT)
        await asyncio.sleep(0.05)

        assert not server.connections


async def test_no_more_are_opened_than_max_connections(client):
    async with Server(answer) as server:
        one = client(server, max_connections=3)
        one.preconnect(COUNT)

        await requests_at_once(one, server, 9)

        assert len(server.connections) == 3


@pytest.fixture
def tls():
    return ssl.create_default_context()


def some_of(server, tls, **options):
    """Connections without a client."""
    loop, preconnections = asyncio.get_running_loop(), Preconnections(Origin.of(server.url), **options)
    preconnections.open(lambda: response_handler(loop), tls, 3)
    return preconnections


def have_ended(server):
    return len(server.connections) == 3 and all(connection.reader.at_eof() for connection in server.connections)


def test_none_is_kept_until_it_would_be_doubtful():
    assert UNUSED_FOR <= DOUBTFUL_AFTER


async def test_those_without_a_request_are_closed_after_a_while(tls):
    async with Server(answer) as server:
        preconnections = some_of(server, tls, unused_for=0.05)

        await wait_until(lambda: have_ended(server))

        assert await preconnections.take(Origin.of(server.url), tls) is None


async def test_one_is_used_for_its_own_origin_and_trust_alone(tls):
    async with Server(answer) as server:
        preconnections, here = some_of(server, tls), Origin.of(server.url)
        await opened(server, 3)

        assert await preconnections.take(Origin(here.scheme, "other.example.com", here.port), tls) is None
        assert await preconnections.take(here, ssl.create_default_context()) is None
        found = await preconnections.take(here, tls)

        assert found is not None
        found.protocol.close()
        preconnections.close()


async def test_the_request_that_leaves_closes_the_one_that_it_waits_for(tls):
    async with Server(answer) as server:
        preconnections = some_of(server, tls)
        waiting = [asyncio.create_task(preconnections.take(Origin.of(server.url), tls)) for _ in range(3)]
        await asyncio.sleep(0)
        for one in waiting:
            one.cancel()
        await asyncio.wait(waiting)

        await opened(server, len(server.connections))
        assert all(one.cancelled() for one in waiting)
        await wait_until(lambda: all(connection.reader.at_eof() for connection in server.connections))


async def test_the_end_of_the_client_closes_them():
    async with Server(answer) as server:
        one = UpstreamClient(Upstream(url=server.url, max_connections=3))
        one.preconnect(COUNT)
        await opened(server, 3)

        await one.close()

        await wait_until(lambda: have_ended(server))
