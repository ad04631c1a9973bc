"""A server of connections with small limits, and what responds in it."""

import asyncio
import contextlib
import json
import os
import socket
from dataclasses import dataclass, field

from aiohttp import web
from proxy_client import DEADLINE, body_of

from ppmproxy.access.admission import Admission
from ppmproxy.access.peer_credentials import PeerUids
from ppmproxy.errors import PpmProxyError
from ppmproxy.server.client_server import ClientServer
from ppmproxy.server.connection import check_connection
from ppmproxy.server.error_responses import ClientContext, render_error


class Peers(PeerUids):
    """Says what the test says."""

    uid = os.geteuid() if hasattr(os, "geteuid") else -1

    def uid_of(self, _connection):
        return self.uid


@dataclass
class RecordingResponder:
    """Answers every request with its path, and remembers what it was asked and what it refused."""

    requests: list[str] = field(default_factory=list)
    refusals: list[PpmProxyError] = field(default_factory=list)
    reads_body: bool = False
    holds: asyncio.Event | None = None

    async def answer(self, request):
        try:
            await check_connection(request)
        except PpmProxyError as error:
            told = self.refusal(error)
            return web.Response(status=told.status, reason=told.reason, headers=told.headers, body=told.body)
        self.requests.append(request.raw_path)
        if self.holds:
            await self.holds.wait()
        body = await request.content.read() if self.reads_body else b""
        return web.Response(body=request.raw_path.encode() + b"|" + body)

    def refusal(self, error):
        self.refusals.append(error)
        return render_error(error, ClientContext())


@dataclass
class Serving:
    responder: RecordingResponder
    admission: Admission
    peers: Peers
    server: ClientServer
    port: int = 0

    @contextlib.asynccontextmanager
    async def connected(self):
        async with streams_of(socket.create_connection(("127.0.0.1", self.port))) as streams:
            yield streams

    async def said(self, *pieces, pause=0.0):
        """Everything that comes back until the connection ends; each piece is sent after a pause."""
        async with self.connected() as (reader, writer):
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(pause)
            return await rest_of(reader)


@contextlib.asynccontextmanager
async def streams_of(connection):
    reader, writer = await asyncio.open_connection(sock=connection)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def rest_of(reader):
    received = bytearray()
    with contextlib.suppress(ConnectionError):
        while piece := await asyncio.wait_for(reader.read(65536), DEADLINE):
            received += piece
    return bytes(received)


def problem_of(received):
    head = received.partition(b"\r\n\r\n")[0].lower()
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    return json.loads(body_of(received))
