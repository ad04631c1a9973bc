"""Claims about files of the cache on their way to a client."""

import asyncio
import ssl

import pytest
import trustme

from ppmproxy.cache.blobs import PartialFile
from ppmproxy.cache.growing import BodyReader, Growing
from ppmproxy.cache.growing_relay import GrowingRelay
from ppmproxy.cache.responses import FilePart, FileRelay

BODY = bytes(range(256)) * 4000
DEADLINE = 15


class Sender(asyncio.Protocol):
    """Sends a part of a file to the client that connects, and closes."""

    def __init__(self, relay_to):
        self.relay_to = relay_to
        self.writable = asyncio.Event()
        self.writable.set()

    def connection_made(self, transport):
        self.task = asyncio.create_task(self.send(transport))

    def pause_writing(self):
        self.writable.clear()

    def resume_writing(self):
        self.writable.set()

    async def send(self, transport):
        relay = self.relay_to(transport)
        transport.write(b"head ")
        while relay.left:
            await relay.relay_until_blocked()
            await self.writable.wait()
        relay.close()
        transport.close()


def contexts():
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    return server, client


async def received_by_a_client(relay_to, *, is_encrypted):
    server_side, client_side = contexts() if is_encrypted else (None, None)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Sender(relay_to), "127.0.0.1", 0, ssl=server_side)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1], ssl=client_side)
    received = await asyncio.wait_for(reader.read(), DEADLINE)
    writer.close()
    server.close()
    return received


@pytest.mark.parametrize("is_encrypted", [False, True])
async def test_a_client_gets_the_bytes_of_the_file_in_the_clear_and_inside_tls(tmp_path, is_encrypted):
    (tmp_path / "file").write_bytes(BODY)
    with (tmp_path / "file").open("rb") as file:
        part = FilePart(file, 100, len(BODY) - 100)
        received = await received_by_a_client(lambda client: FileRelay(part, client), is_encrypted=is_encrypted)

    assert received == b"head " + BODY[100:]


@pytest.mark.parametrize("is_encrypted", [False, True])
async def test_a_client_gets_the_bytes_of_a_growing_file_in_the_clear_and_inside_tls(tmp_path, is_encrypted):
    with (tmp_path / "file").open("w+b", buffering=0) as file:
        body = Growing(PartialFile(tmp_path / "file", file))
        reader, part = BodyReader(body), FilePart(file, 0, len(BODY))
        body.write(BODY[:500_000])
        relaying = asyncio.create_task(
            received_by_a_client(lambda client: GrowingRelay(reader, part, client), is_encrypted=is_encrypted)
        )
        while reader.at < 499_999:
            await asyncio.sleep(0)
        body.write(BODY[500_000:])
        body.finish()
        received = await relaying

    assert received == b"head " + BODY
