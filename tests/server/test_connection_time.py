"""Claims about the time that heads, bodies and idle connections may take."""

import asyncio
import contextlib
from dataclasses import replace

import pytest
from proxy_client import status_of, wait_until
from served_connection import problem_of, rest_of

from ppmproxy.access.limits import Limits

ASK = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


ASK_AND_CLOSE = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


QUICK = Limits(per_user=4, total=6, refused=2, place=0.3, silent=0.2, head=0.3, body=0.8, idle=5.0)


@pytest.mark.parametrize("start", [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: y"])
async def test_a_head_that_is_not_complete_in_time_is_answered_with_408(serving, start):
    running = await serving(QUICK)

    received = await running.said(start)

    assert (status_of(received), problem_of(received)["code"]) == (408, "too-slow")
    assert running.responder.requests == []


async def test_a_head_that_trickles_in_gains_no_time(serving):
    running = await serving(QUICK)

    async with running.connected() as (reader, writer):
        with contextlib.suppress(ConnectionError):
            for byte in ASK * 3:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(QUICK.head / 20)
        received = await rest_of(reader)

    assert not received or status_of(received) == 408
    assert running.responder.requests == []


async def test_a_second_head_that_is_not_complete_is_answered_after_the_first_response(serving):
    running = await serving(QUICK)

    async with running.connected() as (reader, writer):
        writer.write(ASK)
        await reader.readuntil(b"/|")
        writer.write(b"GET /second HTTP/1.1\r\n")
        received = await rest_of(reader)

    assert status_of(received) == 408


async def test_a_connection_without_a_request_ends_by_itself(serving):
    running = await serving(Limits(idle=0.3))

    assert await running.said() == b""
    assert (await running.said(ASK)).startswith(b"HTTP/1.1 200 ")


async def test_a_slow_answer_is_waited_for_and_so_is_the_request_behind_it(serving):
    running = await serving(QUICK)
    running.responder.holds = asyncio.Event()

    async with running.connected() as (reader, writer):
        writer.write(ASK)
        await wait_until(lambda: running.responder.requests)
        writer.write(ASK_AND_CLOSE)
        await asyncio.sleep(3 * QUICK.head)
        running.responder.holds.set()
        received = await rest_of(reader)

    assert received.count(b"HTTP/1.1 200 ") == 2


async def test_a_body_that_stops_half_way_ends_the_connection(serving):
    running = await serving(QUICK)
    running.responder.reads_body = True

    received = await running.said(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345")

    assert received == b""
    await wait_until(lambda: not running.server.connections)


async def test_a_body_that_goes_on_is_waited_for(serving):
    running = await serving(replace(QUICK, body=3.0))
    running.responder.reads_body = True
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 10\r\n\r\n"

    received = await running.said(head, *[b"x"] * 10, pause=0.4)

    assert received.endswith(b"/|xxxxxxxxxx")


async def test_after_a_body_the_connection_is_kept(serving):
    running = await serving(QUICK)
    running.responder.reads_body = True
    post = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"

    received = await running.said(post, ASK_AND_CLOSE, pause=QUICK.body * 1.25)

    assert received.count(b"HTTP/1.1 200 ") == 2


async def test_no_timer_is_left_when_a_connection_ends(serving):
    running = await serving(Limits(head=3600, body=3600))

    async with running.connected() as (_, writer):
        writer.write(b"GET / HT")
        await wait_until(lambda: running.server.connections)
        [connection] = running.server.connections
        await wait_until(lambda: connection._alarm is not None)
    await wait_until(lambda: not running.server.connections)

    assert not connection._alarm.is_set
