"""Claims about the log: a client that has the whole body has not left, whenever it closes its connection."""

import asyncio
import contextlib
import os
import socket
import time

import pytest
from proxy_client import DEADLINE, request_head, wait_until

from ppmproxy.testing.package_manager import Stall, wheel

SIZES = [1_000, 300_000, 34_000_000]  # at once, in pieces, by the relay


def whole_body(port, path):
    """Read a body of known length, and close as soon as it is whole."""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as connection:
        connection.sendall(request_head(path))
        received = bytearray()
        while b"\r\n\r\n" not in received:
            received += next_piece(connection)
        head, _, body = received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split()[0])
        got = len(body)
        while got < length:
            got += len(next_piece(connection))
    return got


def next_piece(connection):
    piece = connection.recv(1 << 20)
    assert piece, "the answer is not whole"
    return piece


@contextlib.contextmanager
def busy_loop():
    """Let each round of the event loop take so long that clients have closed before the next one."""
    loop = asyncio.get_running_loop()

    def block():
        nonlocal timer
        time.sleep(0.03)
        timer = loop.call_later(0, block)  # after what has arrived in a round

    timer = loop.call_later(0, block)
    yield
    timer.cancel()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("drains", [False, True])
async def test_a_client_that_has_the_whole_body_has_not_left(package_manager, proxy, logs, size, drains):
    server = await package_manager(tls=False)
    file = wheel("hello", payload=os.urandom(size))
    server.add(file)
    running = await proxy(server, settings={"drain_timeout": DEADLINE})
    page = (await running.get("/pypi/latest/simple/hello/")).body.decode()
    path = page.partition('href="')[2].partition("#")[0]

    server.add_fault(path, Stall(after=size - min(size // 2, 200_000)))
    downloads = [asyncio.create_task(asyncio.to_thread(whole_body, running.port, path)) for _ in range(3)]
    await wait_until(lambda: len(server.requests_for(path)) == len(downloads))
    stopping = [asyncio.create_task(running.daemon.stop())] if drains else []
    await wait_until(lambda: running.state.is_draining == drains)
    await asyncio.sleep(0.3)  # what comes before the stall has been handed on
    with busy_loop():
        server.clear_faults()
        got = await asyncio.gather(*downloads)
    await asyncio.gather(*stopping)
    await wait_until(lambda: not running.state.in_flight)

    assert min(got) > size
    lines = [line for line in logs.requests if line.get("kind") == "file"]
    assert [(line["status"], line.get("code")) for line in lines] == [(200, None)] * 3
