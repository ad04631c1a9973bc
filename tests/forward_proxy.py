"""A forward proxy that knows CONNECT alone, leads every host to this machine, and remembers what it was asked."""

import asyncio
import contextlib


class ForwardProxy:
    """Listens from `async with` until its end; with an `answer` other than 200 it refuses. `tls`: its own context."""

    def __init__(self, answer=b"HTTP/1.1 200 Connection established\r\n\r\n", tls=None):
        self.heads = []
        self._tls = tls
        self._answer = answer
        self._tunnels = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for tunnel in list(self._tunnels):
            tunnel.cancel()
        await asyncio.gather(*self._tunnels, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def targets(self):
        """The host and port of each request."""
        return [head.split()[1] for head in self.heads]

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._tunnels.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            if b" 200 " not in self._answer:
                writer.write(self._answer)
                await writer.drain()
                return
            there, back = await asyncio.open_connection("127.0.0.1", int(head.split()[1].rpartition(":")[2]))
            writer.write(self._answer)
            with contextlib.closing(back):
                await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))
        except (OSError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()
            self._tunnels.discard(task)


async def _pass_on(reader, writer):
    with contextlib.suppress(OSError):
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()
        writer.close()
        await writer.wait_closed()  # an abort loses what a slow reader has not taken yet
    writer.transport.abort()
