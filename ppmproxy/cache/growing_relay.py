"""The short ways into a growing body and out of it: from the upstream's connection, and from its file to a client's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ppmproxy.cache.growing import PIECE, BodyReader, Growing
from ppmproxy.cache.responses import FilePart, FileRelay

LEFT_IN_MEMORY = 1 << 16  # bytes that the disk did not take and that the upstream may be ahead of the slowest reader


class BodySink(asyncio.WriteTransport):
    """A body in the place of the client's connection to which an upstream's `relay_to` hands a body."""

    def __init__(self, body: Growing, take: Callable[[memoryview], None]) -> None:
        super().__init__()
        self._body = body
        self._take = take

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See `asyncio.WriteTransport`; the data is not referred to afterwards."""
        self._take(memoryview(data))

    def is_closing(self) -> bool:
        """See `asyncio.WriteTransport`: the task of the download ends it."""
        return False

    def get_write_buffer_size(self) -> int:
        """See `asyncio.WriteTransport`: none while the disk takes all."""
        return self._body.in_memory

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """See `asyncio.WriteTransport`."""
        return 0, LEFT_IN_MEMORY


class GrowingRelay(FileRelay):
    """The rest of a growing body on its way to a client: from its file by sendfile(2), else from memory."""

    def __init__(self, reader: BodyReader, part: FilePart, client: asyncio.WriteTransport) -> None:
        super().__init__(part, client)
        self._reader = reader
        self._awaited_since: float | None = None

    @property
    def awaited_since(self) -> float | None:
        """See `Relay`."""
        return self._awaited_since

    async def relay_until_blocked(self) -> None:
        """See `Relay`."""
        if self._client.get_write_buffer_size():
            self._client.set_write_buffer_limits(0)
            return
        body, part = self._reader.body, self._part
        self._awaited_since = asyncio.get_running_loop().time()
        await body.wait_for(part.at)
        self._awaited_since = None
        if (most := body.in_file(part.at)) > 0 and not self.is_encrypted:
            before = part.at
            await self.send(min(most, part.left))
            self._reader.advance(part.at - before)
            return
        data = body.read(part.at, min(PIECE, part.left))
        self._client.write(data)
        part.at += len(data)
        part.left -= len(data)
        self._reader.advance(len(data))


@contextmanager
def relay_of(reader: BodyReader, part: FilePart, client: asyncio.WriteTransport) -> Iterator[GrowingRelay]:
    """The relay of what a reader has not read yet, for as long as the context lasts."""
    low, high = client.get_write_buffer_limits()
    relay = GrowingRelay(reader, part, client)
    try:
        yield relay
    finally:
        relay.close()
        client.set_write_buffer_limits(high, low)
