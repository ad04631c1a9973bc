"""A server that is written for one test, and remembers each connection and what was requested on it."""

import asyncio
import select

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
        """Whether nothing has arrived that was not read; of a client in this thread, nothing is on its way either."""
        poll = select.poll()
        poll.register(self.writer.get_extra_info("socket").fileno(), select.POLLIN)
        return not self.reader._buffer and not poll.poll(0)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


async def body_of(client, url, method="GET", body=None):
    async with client.send(UpstreamRequest(method, url, [], body=body)) as received:
        return received.status, b"".join([chunk async for chunk in received.chunks()]).decode()
