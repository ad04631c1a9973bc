"""Claims about clients that leave: nothing of their requests is left."""

import contextlib

import pytest
from proxy_client import path_of_file, request_head, wait_until

from ppmproxy.testing.package_manager import (
    NoAnswer,
    Trickle,
    wheel,
)

PAGE = "/pypi/latest/simple/hello/"


SIZE = 300_000


@pytest.fixture
async def server(package_manager):
    server = await package_manager(base_path="/rspm")
    server.add(wheel("hello"))
    server.add_large("big-1.0-py3-none-any.whl", SIZE)
    return server


async def test_a_client_that_leaves_ends_the_upstreams_answer(server, proxy, logs):
    server.add_fault("*.whl", Trickle(1000, 0.005))
    running = await proxy(server)

    async with running.connected() as (reader, writer):
        writer.write(request_head(path_of_file(server, "big")))
        await reader.readuntil(b"\r\n\r\n")
    await wait_until(lambda: server.requests[-1].client_left)

    assert server.requests[-1].sent < SIZE
    assert [event.get("code") for event in logs.requests] == ["client-left"]
    assert running.state.in_flight == 0


async def test_a_client_that_leaves_before_the_answer_ends_the_wait(server, proxy, logs):
    server.add_fault("*", NoAnswer())
    running = await proxy(server)

    async with running.connected() as (_, writer):
        writer.write(request_head(PAGE))
        await wait_until(lambda: server.requests)
    await wait_until(lambda: logs.requests)
    server.release()

    await wait_until(lambda: server.requests[0].client_left)
    assert [event.get("code") for event in logs.requests] == ["client-left"]
    assert running.state.in_flight == 0


async def test_many_clients_that_leave_leave_nothing_behind(server, proxy, logs):
    server.add_fault("*", NoAnswer())
    running = await proxy(server, max_connections=5)

    async with contextlib.AsyncExitStack() as stack:
        for _ in range(20):
            _, writer = await stack.enter_async_context(running.connected())
            writer.write(request_head(PAGE))
        await wait_until(lambda: running.state.in_flight == 20)
    await wait_until(lambda: running.state.in_flight == 0)
    server.clear_faults()

    assert (await running.get(PAGE)).status == 200
    assert len(logs.requests) == 21


async def test_half_a_request_is_no_request(server, proxy, logs):
    running = await proxy(server)

    async with running.connected() as (_, writer):
        writer.write(b"GET /pypi/latest/simple/hello/ HTTP/1.1\r\nHost: loc")
        await writer.drain()

    assert (await running.get(PAGE)).status == 200
    assert len(logs.requests) == 1
