"""A client of the daemon under test: sends requests unchanged, as raw bytes too, and keeps all responses."""

import asyncio
import contextlib
import json
from dataclasses import dataclass, field

import aiohttp
import pytest
from multidict import CIMultiDictProxy
from yarl import URL

from ppmproxy.auth.secret import encoded_forms

DEADLINE = 60  # seconds for one answer, on a machine that is busy; a test that needs more hangs
JSON = "application/vnd.pypi.simple.v1+json"
PIP = "pip/26.3"
UV = "uv/0.13.9"
PAGE = "/pypi/latest/simple/hello/"


@dataclass(frozen=True)
class Response:
    """One response, neither decoded nor followed."""

    status: int
    reason: str
    headers: CIMultiDictProxy
    body: bytes

    @property
    def code(self):
        return self.headers.get("X-Ppmproxy-Error")

    def json(self):
        return json.loads(self.body)

    def text(self):
        return self.body.decode()


@dataclass(repr=False)  # asyncio prints what a fixture returned, all bodies too
class ProxyClient:
    """A running daemon, and a client that adds no header, follows no redirect and decodes no body."""

    daemon: object
    session: aiohttp.ClientSession
    replies: list[Response] = field(default_factory=list)

    @property
    def url(self):
        return self.daemon.url

    @property
    def port(self):
        return URL(self.url).port

    @property
    def state(self):
        """A snapshot of the daemon's state."""
        return self.daemon.services.state.snapshot()

    async def get(self, path, headers=None, **more):
        return await self.ask("GET", path, headers, **more)

    async def ask(self, method, path, headers=None, **more):
        url = URL(self.url + path, encoded=True)
        async with self.session.request(method, url, headers=headers, allow_redirects=False, **more) as response:
            reply = Response(response.status, response.reason, response.headers, await response.read())
        self.replies.append(reply)
        return reply

    @contextlib.asynccontextmanager
    async def connected(self):
        """A connection: reader and writer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=4096)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def raw(self, request):
        """Every byte of the response until the connection ends."""
        received = bytearray()
        async with self.connected() as (reader, writer):
            writer.write(request)
            with contextlib.suppress(ConnectionError):
                while piece := await asyncio.wait_for(reader.read(65536), DEADLINE):
                    received += piece
        return bytes(received)


def request_head(target, *lines, method="GET", host="localhost"):
    """A whole request for `ProxyClient.raw`; the connection ends after its response."""
    head = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *lines, "", ""]
    return "\r\n".join(head).encode("utf-8", "surrogateescape")


def body_of(received):
    return received.partition(b"\r\n\r\n")[2]


def status_of(received):
    return int(received.split(b" ", 2)[1]) if received else None


def head_of(reply):
    """The reason and headers of a response, as one text."""
    return "\n".join([reply.reason, *(f"{name}: {value}" for name, value in reply.headers.items())])


def leaked_forms(token, text):
    """The encoded forms of a token that a text contains."""
    return [form for form in encoded_forms(token) if form in text]


def path_of_file(server, project="hello"):
    """The path of a project's first file at a fake Package Manager."""
    file = server.catalog.files("pypi", project)[0]
    return f"/pypi/latest/packages/{file.id}/{file.filename}"


async def wait_until(true, seconds=DEADLINE):
    """Return as soon as a condition is true."""
    for _ in range(seconds * 100):
        if true():
            return
        await asyncio.sleep(0.01)
    pytest.fail("the condition did not become true")


async def settled(value, times=25):
    """A value once it has stopped changing."""
    before, same = value(), 0
    while same < times:
        await asyncio.sleep(0.01)
        now = value()
        before, same = now, same + 1 if now == before else 0
    return before


async def outcome(running, path=PAGE):
    """The status, and the detail of the error."""
    reply = await running.get(path, {"User-Agent": UV})
    return reply.status, reply.json()["detail"] if reply.code else ""


async def passed_over(running):
    """The sources without a token at the first upstream, and why, as the status has them."""
    return (await running.get("/-/status")).json()["upstreams"][0]["passed_over"]


def tokens_seen(server):
    """The tokens that a fake Package Manager received; None for a request without one."""
    return [seen.authorization.removeprefix("Bearer ") if seen.authorization else None for seen in server.requests]


def code_of(received):
    """The code of the error in a raw response."""
    head = received.partition(b"\r\n\r\n")[0].decode("latin-1")
    names = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    return names.get("X-Ppmproxy-Error")
