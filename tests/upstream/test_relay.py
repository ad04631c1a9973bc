"""Claims about `relay`: a large file passes from connection to connection, whole or cut as it came."""

import asyncio
import contextlib
import hashlib
import socket
import struct

import pytest
from proxy_client import DEADLINE, body_of, head_of, request_head, status_of, wait_until

from ppmproxy.testing.package_manager import Cut, Stall
from ppmproxy.upstream.network_response import LARGE_REST

MIB = 1 << 20
SIZE = LARGE_REST + 16 * MIB + 12_345
FAR = LARGE_REST + MIB  # into the body, where it has long gone straight


@pytest.fixture(params=[True, False], ids=["tls", "plain"])
async def server(package_manager, request):
    server = await package_manager(tls=request.param)
    server.add_large("big-1.0-py3-none-any.whl", SIZE)
    return server


def file_of(server):
    return server.catalog.files("pypi", "big")[0]


def path_of(server):
    return f"/pypi/latest/packages/{file_of(server).id}/{file_of(server).filename}"


async def digest_of(reader, size, pause):
    """Read a body in uneven pieces, with pauses so that everything on the way fills up."""
    digest = hashlib.sha256()
    await reader.readuntil(b"\r\n\r\n")
    at, turn = 0, 0
    while at < size:
        turn += 1
        piece = await reader.readexactly(min(size - at, 1 + turn * 70_001 % (3 * MIB)))
        digest.update(piece)
        at += len(piece)
        await asyncio.sleep(pause)
    return digest.hexdigest()


@pytest.mark.parametrize("pause", [0, 0.02])
async def test_every_byte_arrives_however_slowly_it_is_read(server, proxy, logs, pause):
    running = await proxy(server)

    async with running.connected() as (reader, writer):
        writer.write(request_head(path_of(server)))
        digest = await digest_of(reader, SIZE, pause)
        rest = await reader.read()
    await wait_until(lambda: logs.requests)

    assert digest == file_of(server).sha256
    assert rest == b""
    [line] = logs.requests
    assert (line["status"], line["sent"], line.get("code")) == (200, SIZE, None)


async def test_many_at_once_do_not_mix(server, proxy):
    running = await proxy(server)

    async def digest(pause):
        async with running.connected() as (reader, writer):
            writer.write(request_head(path_of(server)))
            return await digest_of(reader, SIZE, pause)

    digests = await asyncio.gather(*(digest(pause) for pause in (0, 0.001, 0.01, 0.02)))

    assert set(digests) == {file_of(server).sha256}


async def test_the_clients_connection_is_good_for_more(server, proxy):
    running = await proxy(server)

    async with running.connected() as (reader, writer):
        for _ in range(2):
            writer.write(request_head(path_of(server)).replace(b"Connection: close\r\n", b""))
            assert await digest_of(reader, SIZE, 0) == file_of(server).sha256


async def test_a_part_is_a_part(server, proxy):
    running = await proxy(server)

    reply = await running.get(path_of(server), {"Range": f"bytes=100-{FAR}"})

    assert reply.status == 206
    assert len(reply.body) == FAR - 99
    assert reply.body == b"".join(file_of(server).content.pieces(100, FAR + 1))


@pytest.mark.parametrize("reset", [False, True])
async def test_a_cut_file_never_looks_complete(server, proxy, logs, reset):
    server.add_fault("*.whl", Cut(FAR, reset=reset))
    running = await proxy(server)

    received = await running.raw(request_head(path_of(server)))
    server.clear_faults()
    next_reply = await running.get(path_of(server))

    assert len(body_of(received)) < SIZE
    assert logs.requests[0]["code"] == "upstream-unreachable"
    assert logs.requests[0]["sent"] >= len(body_of(received))
    assert hashlib.sha256(next_reply.body).hexdigest() == file_of(server).sha256


async def test_a_file_that_stalls_is_cut_after_the_timeout(server, proxy, logs):
    server.add_fault("*.whl", Stall(FAR))
    running = await proxy(server, read_timeout=0.5)

    received = await running.raw(request_head(path_of(server)))

    assert 0 < len(body_of(received)) < SIZE
    assert logs.requests[0]["code"] == "upstream-timeout"
    assert logs.requests[0]["ms"] < 30_000


async def test_a_client_that_rests_for_less_than_the_timeout_is_waited_for(server, proxy):
    running = await proxy(server, read_timeout=2.0)

    async with running.connected() as (reader, writer):
        writer.write(request_head(path_of(server)))
        await asyncio.sleep(1)
        assert await digest_of(reader, SIZE, 0) == file_of(server).sha256


async def test_a_client_that_leaves_frees_the_connection(server, proxy, logs):
    running = await proxy(server, max_connections=1)

    async with running.connected() as (reader, writer):
        writer.write(request_head(path_of(server)))
        await reader.readexactly(MIB)
    await wait_until(lambda: logs.requests)
    next_reply = await running.get(path_of(server))

    assert logs.requests[0]["code"] == "client-left"
    assert logs.requests[0]["sent"] < SIZE
    assert len(next_reply.body) == SIZE


async def test_bytes_beyond_the_content_length_are_dropped(package_manager, upstream, proxy):
    body = b"x" * (LARGE_REST + 3 * MIB)  # the first bytes are read before the relay begins
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)

    async def serve(reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head)
            await writer.drain()
            await asyncio.sleep(0.1)
            writer.write(body + b"HTTP/1.1 200 OK\r\n\r\n" * MIB)
            await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        running = await proxy(upstream(await package_manager(), url=url))

        received = await running.raw(request_head("/a.whl"))

    assert status_of(received) == 200
    assert body_of(received) == body


@pytest.mark.parametrize("pause", [0, 0.02])
@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
async def test_an_upstream_that_hangs_up_after_the_last_byte_loses_none(
    package_manager, upstream, proxy, authority, logs, tls, pause
):
    size = LARGE_REST + 3 * MIB

    async def serve(reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size)
            writer.write(bytes(size))
            await writer.drain()
        writer.close()

    context = authority.server_context(("127.0.0.1",)) if tls else None
    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with listening:
        place = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        running = await proxy(upstream(await package_manager(), url=f"{'https' if tls else 'http'}://{place}"))

        async with running.connected() as (reader, writer):
            writer.write(request_head("/a.whl"))
            digest = await digest_of(reader, size, pause)
        await wait_until(lambda: logs.requests)

    assert digest == hashlib.sha256(bytes(size)).hexdigest()
    assert logs.requests[0].get("code") is None


async def test_a_question_for_the_head_alone_brings_no_body(server, proxy):
    running = await proxy(server)

    reply = await running.ask("HEAD", path_of(server))

    assert (reply.status, reply.body) == (200, b"")
    assert f"Content-Length: {SIZE}" in head_of(reply)


# --- bodies whose end is the end of the connection ---


@contextlib.asynccontextmanager
async def closing_upstream(*, reset):
    """A server whose bodies end with the connection, in order or by a reset."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n" + b"x" * 100_000)
        await writer.drain()
        await asyncio.sleep(0.1)  # what was sent is read before the reset throws it away
        if reset:
            lingering = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, lingering)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_a_body_that_ends_by_a_reset_is_cut_for_the_client_too(proxy, upstream, package_manager, logs, version):
    async with closing_upstream(reset=True) as url:
        running = await proxy(upstream(await package_manager(), url=url))
        async with running.connected() as (reader, writer):
            writer.write(b"GET /a.whl HTTP/" + version + b"\r\nHost: localhost\r\n\r\n")
            received, is_reset = bytearray(), False
            try:
                while piece := await asyncio.wait_for(reader.read(65536), DEADLINE):
                    received += piece
            except ConnectionError:
                is_reset = True
        await wait_until(lambda: logs.requests)

    assert not received.endswith(b"0\r\n\r\n")
    assert is_reset or version == b"1.1"
    assert logs.requests[0]["code"] == "upstream-unreachable"
    assert (logs.requests[0]["status"], logs.requests[0]["head_status"]) == (0, 200)
    assert running.state.by_status == {0: 1}


async def test_a_body_that_ends_with_its_connection_is_whole(proxy, upstream, package_manager, logs):
    async with closing_upstream(reset=False) as url:
        running = await proxy(upstream(await package_manager(), url=url))

        reply = await running.get("/a.whl")

    assert len(reply.body) == 100_000
    assert logs.requests[0]["status"] == 200
