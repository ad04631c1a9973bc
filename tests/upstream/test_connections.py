"""Claims about pooled connections: which one is reused, and what is taken for a response."""

import asyncio
import gc
import random
import select

import pytest
from aiohttp.client_proto import ResponseHandler
from proxy_client import wait_until

from ppmproxy.config.model import Upstream
from ppmproxy.upstream.client import UpstreamClient
from ppmproxy.upstream.connections import DOUBTFUL_AFTER, KEPT_OPEN, WireHandler
from ppmproxy.upstream.messages import UpstreamRequest

UNSOLICITED = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nunsolicited",
    b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 408 Request Timeout\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nunsol",
    b"HTTP/1.1 2",
    b"H",
    b"\0\1\2",
    b"SSH-2.0-OpenSSH\r\n",
)


def response(body, *lines):
    return "\r\n".join(["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *lines, "", body]).encode()


class Server:
    """Serves connections with `serve(server, connection)`; each reads heads and writes what it likes."""

    def __init__(self, serve, **tls):
        self._serve, self._tls = serve, tls
        self.connections = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, **self._tls)
        scheme = "https" if self._tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for connection in self.connections:
            connection.task.cancel()
        await asyncio.gather(*(connection.task for connection in self.connections), return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader, writer):
        connection = Connection(reader, writer, asyncio.current_task())
        self.connections.append(connection)
        try:
            await self._serve(connection)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    @property
    def requests(self):
        return [request for connection in self.connections for request in connection.requests]


class Connection:
    def __init__(self, reader, writer, task):
        self.reader, self.writer, self.task = reader, writer, task
        self.requests = []

    async def request(self):
        """The path of the next request."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.requests.append(head.split()[1].decode())
        return self.requests[-1]

    def write(self, data):
        self.writer.write(data)

    @property
    def is_idle(self):
        """Whether no request is on its way: the client runs in this thread, so what it sent has arrived."""
        poll = select.poll()
        poll.register(self.writer.get_extra_info("socket").fileno(), select.POLLIN)
        return not self.reader._buffer and not poll.poll(0)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
async def client():
    """Makes clients: `client(server)`."""
    clients = []

    def made(server, *, clock=None, wall=None, **options):
        upstream = Upstream(url=server.url, read_timeout=5.0, **options)
        clocks = {"clock": clock, "wall": wall or clock} if clock else {}
        clients.append(UpstreamClient(upstream, **clocks))
        return clients[-1]

    yield made
    for one in clients:
        await one.close()


async def body_of(client, url, method="GET", body=None):
    async with client.send(UpstreamRequest(method, url, [], body=body)) as received:
        return received.status, b"".join([chunk async for chunk in received.chunks()]).decode()


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
