"""A Package Manager with many small wheels behind a delay, as a program: prints its URL, its token and its CA's file.

python -m tests.benchmarks.distant_index FOLDER SECONDS WHEELS [BYTES]
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from ppmproxy.testing.package_manager import FakePackageManager, wheel

HOST = "127.0.0.1"


class _End(asyncio.Protocol):
    """One end of a connection; what it receives is written to the other end after the delay."""

    def __init__(self, delay: float, port: int | None) -> None:
        self._delay = delay
        self._port = port  # where to connect to; None for the far end
        self._early: list[bytes] = []
        self.peer: _End | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self._port is not None:
            self._task = asyncio.create_task(self._connect(self._port))

    async def _connect(self, port: int) -> None:
        await asyncio.sleep(2 * self._delay)  # the handshake of TCP takes a round trip
        loop = asyncio.get_running_loop()
        _, self.peer = await loop.create_connection(lambda: _End(self._delay, None), HOST, port)
        self.peer.peer = self
        for data in self._early:
            self.data_received(data)

    def data_received(self, data: bytes) -> None:
        if self.peer is None:
            self._early.append(data)
        elif self.peer.transport is not None:
            asyncio.get_running_loop().call_later(self._delay, self.peer.transport.write, data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self.peer is not None and self.peer.transport is not None:
            asyncio.get_running_loop().call_later(self._delay, self.peer.transport.close)


async def serve(folder: Path, delay: float, wheels: int, size: int = 0) -> None:
    """Until standard input ends; `size` is that of bytes that cannot be compressed in each wheel."""
    loop = asyncio.get_running_loop()
    async with FakePackageManager() as package_manager:
        for number in range(wheels):
            package_manager.add(wheel(f"package-{number:02}", payload=os.urandom(size) or bytes(100_000)))
        port = int(package_manager.origin.rpartition(":")[2])
        server = await loop.create_server(lambda: _End(delay, port), HOST, 0)
        url = f"https://{HOST}:{server.sockets[0].getsockname()[1]}"
        ca_file = str(package_manager.write_ca(folder / "distant-ca.pem"))
        print(json.dumps({"url": url, "token": package_manager.token, "ca_file": ca_file}), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        server.close()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), float(sys.argv[2]), *map(int, sys.argv[3:])))
