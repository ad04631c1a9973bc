"""Claims about connections: what is no request, and how many connections there may be."""

import asyncio
import contextlib
import socket
import struct
from dataclasses import replace
from socket import SO_LINGER, SOL_SOCKET

import pytest
from proxy_client import DEADLINE, status_of, wait_until
from served_connection import Peers, problem_of, rest_of, streams_of

from ppmproxy.access.limits import Limits
from ppmproxy.server.connection import MAX_HEAD, MAX_HEADERS, MAX_LINE

CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
ASK = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


ASK_AND_CLOSE = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


QUICK = Limits(per_user=4, total=6, refused=2, place=0.3, silent=0.2, head=0.3, body=0.8, idle=5.0)


# --- what is no request ---


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        CLIENT_HELLO,
        b"GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
async def test_a_malformed_request_is_refused_in_the_form_of_every_other_refusal(serving, sent, caplog):
    running = await serving()

    received = await running.said(sent)

    problem = problem_of(received)
    assert (status_of(received), problem["code"]) == (400, "bad-target")
    assert "HTTP" in problem["detail"]
    assert len(running.responder.refusals) == 1
    assert caplog.text == ""


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"a" * (MAX_LINE + 1) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * (MAX_LINE + 1) + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n"
        + b"".join(b"X%d: %s\r\n" % (i, b"a" * 8000) for i in range(9))
        + b"\r\n",
    ],
)
async def test_a_head_that_is_too_large_is_refused_with_the_limit(serving, sent):
    running = await serving()

    received = await running.said(sent.replace(b"\r\nHost", b"\r\nConnection: close\r\nHost", 1))

    assert (status_of(received), problem_of(received)["code"]) == (431, "bad-target")
    assert running.responder.requests == []


@pytest.mark.parametrize("version", [b"2.0", b"0.9"])
async def test_another_version_of_http_is_refused_in_ours(serving, version):
    running = await serving()

    received = await running.said(ASK.replace(b"HTTP/1.1", b"HTTP/" + version))

    assert received.startswith(b"HTTP/1.")
    assert status_of(received) in {400, 505}
    assert problem_of(received)["code"] == "bad-target"
    assert running.responder.requests == []


async def test_too_many_headers_are_refused(serving):
    running = await serving()
    many = b"".join(b"X%d: y\r\n" % number for number in range(MAX_HEADERS + 1))

    received = await running.said(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + many + b"\r\n")

    assert status_of(received) == 431
    assert f"{MAX_HEADERS} in number" in problem_of(received)["detail"]
    assert running.responder.requests == []


async def test_a_head_without_end_is_cut_short(serving):
    running = await serving()

    async with running.connected() as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n")
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 10 * MAX_HEAD and not reader.at_eof():
                writer.write(b"X: " + b"a" * 4000 + b"\r\n")
                sent += 4005
                await writer.drain()
                await asyncio.sleep(0)
        received = await rest_of(reader)

    assert sent < 10 * MAX_HEAD
    assert not received or status_of(received) in {400, 431}


async def test_a_head_as_large_as_clients_may_send_is_answered(serving):
    running = await serving()
    headers = b"".join(b"X%d: %s\r\n" % (number, b"a" * 6000) for number in range(10))

    received = await running.said(ASK_AND_CLOSE.replace(b"\r\n\r\n", b"\r\n" + headers + b"\r\n"))

    assert status_of(received) == 200


async def test_requests_before_the_one_that_is_none_are_answered(serving):
    running = await serving()

    received = await running.said(ASK, b"nonsense\r\n\r\n", pause=0.5)

    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.count(b" 400 the request is not HTTP") == 1


@pytest.mark.parametrize("pieces", [[CLIENT_HELLO], [CLIENT_HELLO[:2], CLIENT_HELLO[2:]], [ASK, CLIENT_HELLO]])
async def test_a_client_that_speaks_https_is_reported_as_one(serving, pieces):
    running = await serving()

    received = await running.said(*pieces, pause=0.5)

    assert received.count(b" 400 the client speaks HTTPS, and this port plain HTTP; use http://") == 1
    assert len(running.responder.requests) == pieces.count(ASK)


# --- who is at the other end ---


@pytest.mark.parametrize("sent", [ASK, b"nonsense\r\n\r\n", b"GET / HT"])
async def test_another_user_gets_the_same_refusal_for_every_request(serving, sent):
    running = await serving(QUICK)
    running.peers.uid = 4711

    received = await running.said(sent)

    assert (status_of(received), problem_of(received)["code"]) == (403, "forbidden-client")
    assert "user 4711 may not use it" in problem_of(received)["detail"]
    assert running.responder.requests == []


async def test_a_connection_beyond_the_limit_is_refused_with_503(serving):
    running = await serving(QUICK)
    running.responder.holds = asyncio.Event()

    async with contextlib.AsyncExitStack() as stack:
        for _ in range(QUICK.per_user):
            _, writer = await stack.enter_async_context(running.connected())
            writer.write(ASK)
        await wait_until(lambda: len(running.responder.requests) == QUICK.per_user)
        received = await running.said(ASK)

    assert (status_of(received), problem_of(received)["code"]) == (503, "too-many-connections")
    assert b"retry-after" not in received.lower()


@pytest.mark.parametrize("arrivals", [QUICK.per_user + 1, QUICK.per_user + QUICK.refused + 1, 10 * QUICK.per_user])
@pytest.mark.parametrize("sent", [ASK, ASK_AND_CLOSE])
async def test_requests_that_arrive_together_are_all_answered(serving, arrivals, sent):
    running = await serving(replace(QUICK, place=DEADLINE, head=DEADLINE))
    connections = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(arrivals)]
    for connection in connections:  # before the first of them is accepted
        connection.sendall(sent)

    async def answer(connection):
        async with streams_of(connection) as (reader, _):
            return await asyncio.wait_for(reader.readuntil(b"/|"), DEADLINE)

    received = await asyncio.gather(*map(answer, connections))

    assert [status_of(one) for one in received] == [200] * arrivals


async def test_a_connection_is_not_idle_before_its_first_request(serving):
    running = await serving(replace(QUICK, silent=DEADLINE, place=0.1))

    async with contextlib.AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(running.connected()) for _ in range(QUICK.per_user)]
        beyond = await running.said(ASK)
        for _, writer in opened:
            writer.write(ASK_AND_CLOSE)
        received = [await rest_of(reader) for reader, _ in opened]

    assert status_of(beyond) == 503
    assert [status_of(one) for one in received] == [200] * QUICK.per_user


async def test_a_connection_with_a_request_that_is_not_read_yet_is_not_idle(serving):
    running = await serving(QUICK)
    async with contextlib.AsyncExitStack() as stack:
        connections = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(QUICK.per_user)]
        streams = [await stack.enter_async_context(streams_of(connection)) for connection in connections]
        for reader, writer in streams:
            writer.write(ASK)
            await reader.readuntil(b"/|")

        for connection in connections:
            connection.send(ASK_AND_CLOSE)
        are_idle = [holder.is_idle for holder in running.admission._holders]
        received = [await rest_of(reader) for reader, _ in streams]

    assert are_idle == [False] * QUICK.per_user
    assert [status_of(one) for one in received] == [200] * QUICK.per_user


@pytest.mark.parametrize("asks", [True, False])
async def test_idle_connections_make_room_for_new_ones(serving, asks):
    running = await serving(QUICK)

    async with contextlib.AsyncExitStack() as stack:
        for _ in range(5 * QUICK.total):
            reader, writer = await stack.enter_async_context(running.connected())
            if asks:
                writer.write(ASK)
                await reader.readuntil(b"/|")
        statuses = [status_of(await running.said(ASK_AND_CLOSE)) for _ in range(20)]

    assert statuses == [200] * 20
    await wait_until(lambda: not running.admission._admitted and not running.server.connections)


async def test_places_that_were_left_are_free_again(serving):
    running = await serving(QUICK)
    for _ in range(5 * QUICK.total):
        await running.said(ASK_AND_CLOSE)
    for _ in range(3 * QUICK.refused):
        running.peers.uid = 4711
        await running.said(ASK)
    running.peers.uid = Peers.uid

    await wait_until(lambda: not running.admission._admitted and not running.admission._refused)

    assert status_of(await running.said(ASK_AND_CLOSE)) == 200


async def test_a_connection_that_is_reset_at_once_leaves_its_place_too(serving):
    running = await serving(QUICK)

    for _ in range(5 * QUICK.total):
        async with running.connected() as (_, writer):
            writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))

    await wait_until(lambda: not running.admission._admitted and not running.server.connections)
