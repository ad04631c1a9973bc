"""Equal repeated Content-Lengths are one, wherever the head of a response is cut; different ones are refused."""

import asyncio
import contextlib

import pytest
from proxy_client import UV

from ppmproxy.config.model import Upstream
from ppmproxy.upstream.response_head import mended

FILE = "/pypi/latest/packages/1/hello-1.0.tar.gz"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: x/y\r\n"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b"\r\nContent-Length: 5\r\ncontent-length:5", b"\r\nContent-Length: 5"),
        (b"\r\nContent-Length: 5, 5", b"\r\nContent-Length: 5"),
        (b"\r\nContent-Length: 5 \r\nA: b\r\nContent-Length: 5,5", b"\r\nA: b\r\nContent-Length: 5"),
        (b"\r\nContent-Length: 5", None),
        (b"\r\nContent-Length: 5\r\nContent-Length: 6", b"\r\nContent-Length: 5, 6"),
        (b"\r\nContent-Length: 5, 6", b"\r\nContent-Length: 5, 6"),
        (b"\r\nX-Content-Length: 5\r\nContent-Length: 5", None),
        (b"\r\nContent-Length: 05\r\nContent-Length: 5", b"\r\nContent-Length: 5"),
        (b"\r\nContent-Length: 0\r\nContent-Length: 00", b"\r\nContent-Length: 0"),
        (b"\r\nContent-Length: 0x\r\nContent-Length: x", b"\r\nContent-Length: 0x, x"),
        (b"\nContent-Length: 5\nContent-Length: 5", b"\r\nContent-Length: 5"),
        (b"", None),
    ],
)
def test_equal_lengths_become_one_and_all_else_stays(lines, expected):
    head = b"HTTP/1.1 200 OK" + lines

    assert mended(head) == (head if expected is None else b"HTTP/1.1 200 OK" + expected)


@contextlib.asynccontextmanager
async def answering(*pieces):
    """A server that responds to each request in pieces; gives its port, and its connections as they come."""
    connections = []

    async def answer(reader, writer):
        connections.append((writer, asyncio.current_task()))
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while await reader.readuntil(b"\r\n\r\n"):
                for piece in pieces:
                    writer.write(piece)
                    await asyncio.sleep(0.01)

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], connections
        for writer, _ in connections:
            writer.transport.abort()
        await asyncio.gather(*(task for _, task in connections), return_exceptions=True)


async def running_before(proxy, port):
    return await proxy(Upstream(url=f"http://127.0.0.1:{port}", configured=True, read_timeout=5), environ={})


@pytest.mark.parametrize(
    "pieces",
    [
        [HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"],
        [HEAD + b"Content-Length: 5, 5\r\n\r\nhel", b"lo"],
        [HEAD[:7], HEAD[7:] + b"Content-Length: 5\r\nCon", b"tent-Length: 5\r\n\r", b"\n", b"hello"],
        [b"HTTP/1.1 103 Early\r\n\r\n" + HEAD, b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"],
        [HEAD + b"Content-Length: 5\r\n\r\nhello"],
        [HEAD.replace(b"\r", b"") + b"Content-Length: 5\n\nhello"],
        [HEAD.replace(b"\r", b"") + b"Content-Length: 5\nContent-Length: 5\n\nhello"],
        [HEAD + b"Content-Length: 5\r\n\nhello"],
        [HEAD + b"Content-Length: 5\n\r\n", b"hello"],
        [b"HTTP/1.1 100 Continue\n\n" + HEAD + b"Content-Length: 5\r\n\r\nhello"],
        [HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"],
    ],
)
async def test_a_response_is_read_and_its_connection_used_again(proxy, pieces):
    async with answering(*pieces) as (port, connections):
        running = await running_before(proxy, port)

        replies = [await running.get(FILE) for _ in range(2)]

    assert len(connections) == 1
    assert [reply.body for reply in replies] == [b"hello"] * 2
    assert {tuple(reply.headers.getall("Content-Length", ["5"])) for reply in replies} == {("5",)}


@pytest.mark.parametrize(
    "response",
    [
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        HEAD[:20],
        HEAD + b"X: " + b"y" * (1 << 17) + b"\r\n\r\n",
    ],
)
async def test_what_is_no_response_is_an_error_of_the_upstream(proxy, response):
    async with answering(response) as (port, _):
        running = await running_before(proxy, port)

        reply = await running.get(FILE, {"User-Agent": UV})

    assert (reply.status, reply.code[:8]) == (424, "upstream")
