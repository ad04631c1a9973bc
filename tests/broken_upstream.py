"""A server that responds in no way that HTTP knows."""

import asyncio
import contextlib


@contextlib.asynccontextmanager
async def answering(data):
    """A server that answers everything with the same bytes, and then hangs up; its URL."""

    async def serve(reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(data)
            await writer.drain()
        writer.transport.abort() if not data else writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        await listening.wait_closed()
