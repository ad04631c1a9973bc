"""Claims about intercepted connections over real sockets: who answers which request, and how long a client may take."""

import asyncio
import contextlib

import pytest
from aiohttp import web

from ppmproxy.access.limits import Limits
from ppmproxy.config.model import Upstream
from ppmproxy.server.intercept.connect_request import authority_of_upstream
from ppmproxy.server.intercept.handler_answerer import HandlerAnswerer
from ppmproxy.server.intercept.intercepted_connection import Interceptor
from ppmproxy.server.intercept.intercepted_request import InterceptedRequest

UPSTREAM = Upstream(url="https://packagemanager.example.com/rspm")
AUTHORITY = authority_of_upstream(UPSTREAM)
HOST = "Host: packagemanager.example.com"
DEADLINE = 60
SOON = 2.0  # seconds, in which a busy machine gets something done


async def endless(request):
    """A response whose body never ends."""
    response = web.StreamResponse(headers={"Content-Length": "1000000"})
    await response.prepare(request)
    await response.write(b"begun")
    await asyncio.Event().wait()


class Serving:
    """A server of intercepted connections; who answered is the first word of a response, its path and body follow."""

    def __init__(self, limits=None, idle=DEADLINE, slow=0.3):
        self.shared = Interceptor({AUTHORITY: [UPSTREAM]}, self._answerer("daemon"), self._answerer("host"))
        self.shared.limits = limits or Limits()
        self.ended = asyncio.Event()
        self._idle = idle
        self._slow = slow  # seconds

    def _answerer(self, name):
        async def answer(request):
            if request.path.endswith("/slow/"):
                await asyncio.sleep(self._slow)
            if request.path.endswith("/endless/"):
                return await endless(request)
            return web.Response(text=f"{name} {request.path} {await request.text()}")

        def made(_, client):
            handler = web.RequestHandler(
                web.Server(answer), loop=asyncio.get_running_loop(), keepalive_timeout=self._idle
            )
            return HandlerAnswerer(handler, client.connected, InterceptedRequest.for_host)

        return made

    @contextlib.asynccontextmanager
    async def client(self):
        """The streams of a client."""
        server = await asyncio.get_running_loop().create_server(
            lambda: self.shared.connection_for(AUTHORITY, self.ended.set), "127.0.0.1", 0
        )
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            yield reader, writer
        finally:
            writer.close()
            server.close()


def request(path, *lines, method="GET", body=""):
    return "\r\n".join([f"{method} {path} HTTP/1.1", HOST, *lines, "", body]).encode()


async def response(reader):
    """Status and text of the next response."""
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE)).decode()
    size = next(int(line.partition(":")[2]) for line in head.split("\r\n") if line.lower().startswith("content-length"))
    return int(head.split()[1]), (await asyncio.wait_for(reader.readexactly(size), DEADLINE)).decode()


async def test_the_path_says_who_answers_over_the_same_connection():
    serving = Serving()
    found = []
    async with serving.client() as (reader, writer):
        for path in ("/rspm/pypi/", "/git/project", "/rspm/pypi/", "/rspmx/", "/rspm"):
            writer.write(request(path))
            found.append((await response(reader))[1].split()[0])

    assert found == ["daemon", "host", "daemon", "host", "daemon"]
    assert serving.shared.asked == {AUTHORITY}


async def test_who_answered_before_does_not_close_the_connection_when_it_has_been_idle_for_it():
    async with Serving(idle=0.2).client() as (reader, writer):
        writer.write(request("/rspm/pypi/"))
        await response(reader)
        writer.write(request("/git/slow/"))
        assert (await response(reader))[1].startswith("host")


@pytest.mark.parametrize("cut", [1, 20, 60, 75])
async def test_a_request_may_come_in_pieces(cut):
    sent = request("/rspm/upload/", "Content-Length: 4", method="POST", body="body")
    async with Serving().client() as (reader, writer):
        writer.write(sent[:cut])
        await asyncio.sleep(0.01)
        writer.write(sent[cut:])
        assert await response(reader) == (200, "daemon /rspm/upload/ body")


async def test_requests_behind_each_other_are_answered_in_turn():
    async with Serving().client() as (reader, writer):
        writer.write(b"\r\n" + b"".join(request(f"/rspm/{number}/") for number in range(20)))
        found = [(await response(reader))[1].strip() for _ in range(20)]

    assert found == [f"daemon /rspm/{number}/" for number in range(20)]


async def test_no_answer_of_one_is_taken_for_that_of_another():
    async with Serving().client() as (reader, writer):
        writer.write(request("/rspm/slow/") + request("/git/"))
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), DEADLINE) == b""


async def test_a_response_is_not_taken_for_one_that_is_still_missing():
    async with Serving().client() as (reader, writer):
        writer.write(request("/rspm/first/") + request("/rspm/slow/"))
        assert (await response(reader))[1].strip() == "daemon /rspm/first/"
        writer.write(request("/git/"))
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), DEADLINE) == b""


@pytest.mark.parametrize("behind", [request("/git/"), b"GET /rspm/../git/ HTTP/1.1\r\n" + HOST.encode() + b"\r\n\r\n"])
async def test_nothing_is_taken_for_the_rest_of_a_body_that_is_not_whole(behind):
    async with Serving().client() as (reader, writer):
        writer.write(request("/rspm/endless/"))
        await asyncio.wait_for(reader.readuntil(b"begun"), DEADLINE)
        writer.write(behind)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), DEADLINE) == b""


async def test_an_error_is_not_taken_for_the_response_to_the_request_before():
    async with Serving().client() as (reader, writer):
        writer.write(request("/rspm/slow/") + request("/rspm/../git/"))
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), DEADLINE) == b""


async def test_a_head_is_waited_for_while_the_request_before_it_is_answered():
    async with Serving(Limits(head=SOON), slow=1.5 * SOON).client() as (reader, writer):
        writer.write(request("/rspm/slow/") + request("/rspm/next/")[:20])
        assert (await response(reader))[1].strip() == "daemon /rspm/slow/"
        writer.write(request("/rspm/next/")[20:])
        assert (await response(reader))[1].strip() == "daemon /rspm/next/"


async def test_after_a_body_in_chunks_the_connection_is_closed():
    chunked = request("/git/", "Transfer-Encoding: chunked", method="POST", body="4\r\nbody\r\n0\r\n\r\n")
    async with Serving().client() as (reader, writer):
        writer.write(chunked + request("/rspm/pypi/"))
        found = await response(reader)
        rest = await asyncio.wait_for(reader.read(), DEADLINE)

    assert found == (200, "host /git/ body")
    assert b"daemon" not in rest


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: pypi.example.org\r\n\r\n", 421),
        (request("/rspm/../git/"), 400),
        (request("/rspm/", "Connection: Upgrade", "Upgrade: websocket"), 403),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (request("/rspm/", *["X: " + "x" * 8000] * 9), 431),
        (b"GET /" + b"x" * 70_000, 431),
    ],
)
async def test_a_refusal_is_answered_and_ends_the_connection(sent, status):
    serving = Serving()
    async with serving.client() as (reader, writer):
        writer.write(sent)
        found, _ = await response(reader)
        assert await asyncio.wait_for(reader.read(), DEADLINE) == b""
        await asyncio.wait_for(serving.ended.wait(), DEADLINE)

    assert found == status


# --- silent clients ---


async def test_a_client_without_a_request_is_cut():
    serving = Serving(Limits(idle=0.1))
    async with serving.client() as (reader, _):
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), DEADLINE) == b""
        await asyncio.wait_for(serving.ended.wait(), DEADLINE)


async def test_a_client_in_the_middle_of_a_head_is_refused():
    async with Serving(Limits(head=0.1)).client() as (reader, writer):
        writer.write(b"GET /rspm/ HTT")
        assert (await response(reader))[0] == 408


async def test_a_head_that_trickles_in_gains_no_time():
    serving = Serving(Limits(head=0.2))
    async with serving.client() as (reader, writer):
        answered = asyncio.create_task(response(reader))
        while not answered.done():
            writer.write(b"G")
            await asyncio.sleep(0.01)
        with contextlib.suppress(ConnectionError):  # what is sent to a closed connection may end the reading of it, too
            assert answered.result()[0] == 408
        await asyncio.wait_for(serving.ended.wait(), DEADLINE)


async def test_a_slow_answer_is_waited_for():
    async with Serving(Limits(idle=SOON, head=SOON), slow=1.5 * SOON).client() as (reader, writer):
        writer.write(request("/rspm/slow/"))
        assert (await response(reader))[0] == 200
