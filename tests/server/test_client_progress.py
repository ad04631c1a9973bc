"""Claims about `client_progress`: a client that takes nothing is cut, one that reads slowly is not."""

import asyncio
import contextlib
import socket
import sys

import pytest
from proxy_client import DEADLINE, request_head, wait_until

STALL = 2.5  # seconds
SIZE = 24 << 20  # more than any buffer between the two

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system shows no slow reader")


@pytest.fixture
async def running(package_manager, proxy):
    server = await package_manager()
    server.add_large("big-1.0-py3-none-any.whl", SIZE)
    return await proxy(server, read_timeout=STALL)


@contextlib.asynccontextmanager
async def downloading(running, package_manager):
    """The socket of a client that has asked for the large file, and reads only what the test reads."""
    file = package_manager.started[0].catalog.files("pypi", "big")[0]
    with socket.create_connection(("127.0.0.1", running.port)) as client:
        client.setblocking(False)
        client.sendall(request_head(f"/pypi/latest/packages/{file.id}/{file.filename}"))
        yield client


async def read(client, size):
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, size), DEADLINE)


async def test_a_client_that_takes_nothing_is_cut(running, package_manager, logs):
    async with downloading(running, package_manager) as client:
        await read(client, 100)

        await wait_until(lambda: logs.requests)

    assert logs.requests[0]["code"] == "client-stalled"
    assert logs.requests[0]["status"] == 0


async def test_a_client_that_reads_slowly_is_not_cut(running, package_manager, logs):
    async with downloading(running, package_manager) as client:
        for _ in range(16):
            assert await read(client, 100)
            await asyncio.sleep(STALL / 8)

        assert logs.requests == []
