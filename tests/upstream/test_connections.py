"""Claims about pooled connections: which one is reused, and what is taken for a response."""

import asyncio
import gc
import random

import pytest
from aiohttp.client_proto import ResponseHandler
from connection_server import UNSOLICITED, Clock, Server, body_of, response
from proxy_client import wait_until

from ppmproxy.upstream.connector import DOUBTFUL_AFTER, KEPT_OPEN, WireHandler

# --- data that nobody asked for ---


@pytest.mark.parametrize("is_tls", [False, True])
@pytest.mark.parametrize("unsolicited", UNSOLICITED)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_data_on_an_idle_connection_is_no_response(client, authority, ca_file, unsolicited, is_tls, method):
    async def serve(connection):
        connection.write(response(await connection.request()))
        await asyncio.sleep(0.02)
        connection.write(unsolicited)
        connection.write(response(await connection.request()))

    tls = {"ssl": authority.server_context(("127.0.0.1",))} if is_tls else {}
    async with Server(serve, **tls) as server:
        one = client(server, ca_file=ca_file)
        first = await body_of(one, server.url + "/1")
        await asyncio.sleep(0.1)
        second = await body_of(one, server.url + "/2", method, b"x" if method == "POST" else None)

    assert (first, second) == ((200, "/1"), (200, "/2"))
    assert [connection.requests for connection in server.connections] == [["/1"], ["/2"]]


@pytest.mark.parametrize("unsolicited", [data for data in UNSOLICITED if data.startswith(b"H")])
async def test_data_that_comes_with_the_end_of_a_response_is_no_response(client, unsolicited):
    async def serve(connection):
        connection.write(response(await connection.request()) + unsolicited)
        connection.write(response(await connection.request()))

    async with Server(serve) as server:
        one = client(server)
        bodies = [await body_of(one, f"{server.url}/{number}") for number in range(3)]

    assert bodies == [(200, "/0"), (200, "/1"), (200, "/2")]


async def test_no_request_of_ten_thousand_gets_the_body_of_another(client):
    """The server writes at random on idle connections, before and while they are in the pool."""
    chance = random.Random(20261126)

    async def serve(connection):
        while True:
            path = await connection.request()
            behind = chance.choice(UNSOLICITED[:2]) if chance.random() < 0.02 else b""
            connection.write(response(path) + behind)
            if chance.random() < 0.05:
                await asyncio.sleep(chance.random() * 0.002)
                if connection.is_idle:
                    connection.write(chance.choice(UNSOLICITED))

    async with Server(serve) as server:
        one = client(server)

        async def ask(worker):
            for number in range(1250):
                path = f"/{worker}/{number}"
                assert await body_of(one, server.url + path) == (200, path)

        await asyncio.gather(*map(ask, range(8)))

    assert 100 < len(server.connections) < 5000


# --- connections that have ended ---


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_connection_that_the_server_closed_is_not_used_again(client, method):
    async def serve(connection):
        connection.write(response(await connection.request()))

    async with Server(serve) as server:
        one = client(server)
        bodies = [await body_of(one, f"{server.url}/{number}", method, b"") for number in range(5)]

    assert bodies == [(200, f"/{number}") for number in range(5)]
    assert len(server.connections) == 5


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "end",
    [
        b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n",
        b"",
    ],
)
async def test_a_reused_connection_that_ends_with_the_request_gets_a_fresh_one(client, method, end):
    async def serve(connection):
        path = await connection.request()
        connection.write(response(path) if method == "GET" else response(path).removesuffix(path.encode()))
        await connection.request()
        connection.write(end)

    async with Server(serve) as server:
        one = client(server)
        statuses = [(await body_of(one, f"{server.url}/{number}", method))[0] for number in range(2)]

    assert statuses == [200, 200]
    assert server.requests == ["/0", "/1", "/1"]


async def test_a_408_on_a_fresh_connection_is_the_answer(client):
    async def serve(connection):
        await connection.request()
        connection.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")

    async with Server(serve) as server:
        assert (await body_of(client(server), server.url))[0] == 408

    assert len(server.requests) == 1


# --- connections that may be dead ---


def answering_once(connections):
    """A server whose connections fall silent after one response, except those that are numbered."""

    async def serve(connection):
        number = len(connections)
        connections.append(connection)
        connection.write(response(await connection.request()))
        while True:
            path = await connection.request()
            if number > 0:
                connection.write(response(path))

    return serve


async def test_a_dead_connection_is_raced_by_a_fresh_one(client):
    clock = Clock()
    async with Server(answering_once([])) as server:
        one = client(server, clock=clock)
        await body_of(one, server.url + "/1")
        clock.now += DOUBTFUL_AFTER

        assert await body_of(one, server.url + "/2") == (200, "/2")

        assert [connection.requests for connection in server.connections] == [["/1", "/2"], ["/2"]]


@pytest.mark.parametrize("seconds", [3600, -3600, 6])
async def test_no_connection_outlives_a_sleep_of_the_machine(client, seconds):
    clock, wall = Clock(), Clock()
    async with Server(answering_once([])) as server:
        one = client(server, clock=clock, wall=wall)
        await body_of(one, server.url + "/1")
        wall.now += seconds

        bodies = [await body_of(one, server.url + "/2"), await body_of(one, server.url + "/3")]

    assert bodies == [(200, "/2"), (200, "/3")]
    assert [connection.requests for connection in server.connections] == [["/1"], ["/2", "/3"]]


async def test_a_clock_that_is_set_by_a_little_costs_no_connection(client):
    clock, wall = Clock(), Clock()

    async def serve(connection):
        while True:
            connection.write(response(await connection.request()))

    async with Server(serve) as server:
        one = client(server, clock=clock, wall=wall)
        for number in range(10):
            wall.now += 0.4
            await body_of(one, f"{server.url}/{number}")

    assert len(server.connections) == 1


async def test_connections_of_uploads_alone_leave_nothing_in_memory(client):
    clock, ended = Clock(), []

    async def serve(connection):
        connection.write(response(await connection.request(), "Connection: keep-alive"))
        connection.writer.close()
        ended.append(connection)

    async with Server(serve) as server:
        one = client(server, clock=clock)
        for number in range(20):
            await body_of(one, f"{server.url}/{number}", "POST")
            await wait_until(lambda count=number + 1: len(ended) == count)
            for _ in range(10):
                await asyncio.sleep(0)  # the client sees that it has ended
            clock.now += KEPT_OPEN + 1
        gc.collect()
        kept = [one for one in gc.get_objects() if isinstance(one, ResponseHandler)]

    assert len(server.connections) == 20
    assert len(kept) <= 5


def test_a_connection_that_breaks_as_the_event_loop_ends_is_not_logged(caplog):
    """A broken-off sign-in: the server answers on a connection that is being closed."""

    async def main():
        handler = WireHandler(asyncio.get_running_loop())
        assert handler.closed is not None  # somebody asked for it
        handler.connection_lost(ConnectionResetError("data after close_notify"))

    asyncio.run(main())
    gc.collect()

    assert not caplog.records


def test_an_idle_connection_is_kept_as_long_as_most_servers_keep_theirs():
    assert KEPT_OPEN == 15
