"""Claims about files of the cache on their way to a client."""

import asyncio
import ssl

import pytest
import trustme

from ppmproxy.cache.responses import FilePart, FileRelay

BODY = bytes(range(256)) * 4000
DEADLINE = 15


class Sender(asyncio.Protocol):
    """Sends a part of a file to the client that connects, and closes."""

    def __init__(self, part):
        self.part = part
        self.writable = asyncio.Event()
        self.writable.set()

    def connection_made(self, transport):
        self.task = asyncio.create_task(self.send(transport))

    def pause_writing(self):
        self.writable.clear()

    def resume_writing(self):
        self.writable.set()

    async def send(self, transport):
        relay = FileRelay(self.part, transport)
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


@pytest.mark.parametrize("is_encrypted", [False, True])
async def test_a_client_gets_the_bytes_of_the_file_in_the_clear_and_inside_tls(tmp_path, is_encrypted):
    (tmp_path / "file").write_bytes(BODY)
    server_side, client_side = contexts() if is_encrypted else (None, None)
    with (tmp_path / "file").open("rb") as file:
        part = FilePart(file, 100, len(BODY) - 100)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Sender(part), "127.0.0.1", 0, ssl=server_side)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1], ssl=client_side)
        received = await asyncio.wait_for(reader.read(), DEADLINE)
        writer.close()
        server.close()

    assert received == b"head " + BODY[100:]
