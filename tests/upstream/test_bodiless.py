"""Claims about responses with a body that they cannot have: it is ignored, and its connection is not used again."""

import asyncio
import contextlib

import pytest
from proxy_client import wait_until

from ppmproxy.config.model import Upstream

FILE = "/pypi/latest/packages/1/hello-1.0-py3-none-any.whl"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
GONE = b"HTTP/1.1 410 Gone\r\nContent-Length: 3\r\n\r\n"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
UNCHANGED = b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nContent-Length: 5\r\n\r\n'
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@contextlib.asynccontextmanager
async def answering(*pieces):
    """A server that answers each request so, piece by piece; gives its port, its connections, and its whole answers."""
    connections, answers = [], []

    async def answer(reader, writer):
        connections.append((writer, asyncio.current_task()))
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while await reader.readuntil(b"\r\n\r\n"):
                for piece in pieces:
                    writer.write(piece)
                    await asyncio.sleep(0.01)
                answers.append(pieces)

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], connections, answers
        for writer, _ in connections:
            writer.transport.abort()
        await asyncio.gather(*(task for _, task in connections), return_exceptions=True)


async def running_before(proxy, port):
    return await proxy(Upstream(url=f"http://127.0.0.1:{port}", configured=True, read_timeout=5), environ={})


@pytest.mark.parametrize(
    ("method", "pieces", "status"),
    [
        ("HEAD", [OK + b"hello"], 200),
        ("HEAD", [OK, b"hello"], 200),
        ("HEAD", [OK + b"he", b"llo"], 200),
        ("HEAD", [OK[:9], OK[9:-2], OK[-2:] + b"hello"], 200),
        ("HEAD", [EARLY + OK + b"hello"], 200),
        ("HEAD", [EARLY, OK + b"hello"], 200),
        ("HEAD", [OK + OK], 200),
        ("HEAD", [OK + b"x" * 300_000], 200),
        ("HEAD", [CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"], 200),
        ("HEAD", [GONE + b"404"], 410),
        ("GET", [EMPTY + b"hello"], 204),
        ("GET", [UNCHANGED + b"hello"], 304),
        ("GET", [EARLY + EMPTY + b"hello"], 204),
    ],
)
async def test_a_body_that_a_response_cannot_have_is_ignored(proxy, method, pieces, status):
    async with answering(*pieces) as (port, connections, answers):
        running = await running_before(proxy, port)

        replies = [await running.ask(method, FILE)]
        await wait_until(lambda: answers)
        replies.append(await running.ask(method, FILE))

    assert [(reply.status, reply.body) for reply in replies] == [(status, b"")] * 2
    assert len(connections) == 2


@pytest.mark.parametrize(
    ("method", "pieces", "body"),
    [
        ("HEAD", [OK], b""),
        ("GET", [OK + b"hello"], b"hello"),
        ("GET", [EARLY + OK + b"hel", b"lo"], b"hello"),
        ("GET", [EMPTY], b""),
    ],
)
async def test_a_connection_is_used_again_after_a_response_as_it_should_be(proxy, method, pieces, body):
    async with answering(*pieces) as (port, connections, _):
        running = await running_before(proxy, port)

        replies = [await running.ask(method, FILE) for _ in range(2)]

    assert [reply.body for reply in replies] == [body] * 2
    assert len(connections) == 1
