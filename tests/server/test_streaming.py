"""Claims about bodies: they stream both ways, no faster than the other end takes them, and uploads go once."""

import asyncio
import hashlib
import io

import pytest
from proxy_client import request_head, settled, status_of, wait_until

from ppmproxy.auth.policy import Scheme
from ppmproxy.testing.package_manager import NoAnswer, Status, Trickle, wheel

PAGE = "/pypi/latest/simple/hello/"
MIB = 1 << 20


# --- bodies, both ways ---


def form_with(name, content):
    """A multipart form as twine sends it."""
    boundary = "boundary"
    parts = {":action": "file_upload", "name": name, "sha256_digest": hashlib.sha256(content).hexdigest()}
    lines = [f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in parts.items()]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="content"; filename="{name}-1.0.tar.gz"\r\n\r\n'
    return "".join([*lines, head]).encode() + content + f"\r\n--{boundary}--\r\n".encode(), boundary


async def test_an_upload_arrives_as_it_was_sent(package_manager, proxy):
    server = await package_manager(scopes=("repos:read:*", "sources:write:*"))
    running = await proxy(server, uploads=True)
    body, boundary = form_with("hello", bytes(range(256)) * 5000)
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "User-Agent": "twine/7.0.0"}

    reply = await running.ask("POST", "/upload/pypi/internal", headers, data=io.BytesIO(body))

    [seen] = server.requests
    assert reply.json() == {"uploaded": "hello-1.0.tar.gz"}
    assert seen.header("Content-Length") == str(len(body))
    assert seen.header("Transfer-Encoding") is None
    assert seen.header("Content-Type") == headers["Content-Type"]
    assert seen.body_sha256 == hashlib.sha256(body).hexdigest()


async def test_a_chunked_upload_arrives_whole(package_manager, proxy):
    server = await package_manager(scopes=("sources:write:*",))
    running = await proxy(server, uploads=True)

    async def pieces():
        for number in range(5):
            yield b"%d" % number * 1000

    await running.ask("POST", "/upload/pypi/internal", data=pieces())

    assert server.requests[0].body_length == 5000


async def test_a_refused_upload_is_answered_before_it_is_over(package_manager, proxy):
    server = await package_manager(scopes=("sources:write:*",))
    server.add_fault("*", Status(413, "Too Large", b"no more than 1 MiB", early=True))
    running = await proxy(server, uploads=True)
    head = request_head("/upload/pypi/internal", f"Content-Length: {64 * MIB}", method="POST")

    async with running.connected() as (reader, writer):
        writer.write(head + b"x" * MIB)
        received = await asyncio.wait_for(reader.readuntil(b"no more than 1 MiB"), 5)

    assert status_of(received) == 413


@pytest.mark.parametrize("length", ["Content-Length: 2000000", "Transfer-Encoding: chunked"])
async def test_an_upload_that_its_client_breaks_off_is_no_upload(package_manager, proxy, logs, length):
    server = await package_manager(scopes=("sources:write:*",))
    running = await proxy(server, uploads=True)
    piece = b"x" * 1000

    async with running.connected() as (_, writer):
        writer.write(request_head("/upload/pypi/internal", length, method="POST"))
        writer.write(piece if "Content" in length else b"3e8\r\n" + piece + b"\r\n")
        await wait_until(lambda: server.requests and server.requests[0].body_length == 1000)
    await wait_until(lambda: server.requests[0].client_left)

    assert server.requests[0].status is None
    await wait_until(lambda: logs.requests)
    assert [event["code"] for event in logs.requests] == ["client-left"]


async def test_a_slow_client_stops_the_upstreams_reading(package_manager, proxy):
    server = await package_manager(tls=False)
    size = 256 * MIB
    file = server.add_large("big-1.0-py3-none-any.whl", size)
    running = await proxy(server)

    async with running.connected() as (reader, writer):
        writer.write(request_head(f"/pypi/latest/packages/{file.id}/{file.filename}"))
        await reader.readuntil(b"\r\n\r\n")
        sent = await settled(lambda: server.requests[-1].sent)

        assert 0 < sent < 48 * MIB
        assert running.state.in_flight == 1

        for _ in range(64):
            await reader.readexactly(MIB)
        await wait_until(lambda: server.requests[-1].sent > sent)


async def test_a_slow_upstream_stops_the_clients_sending(package_manager, proxy):
    server = await package_manager(tls=False, scopes=("sources:write:*",))
    server.add_fault("*", NoAnswer())
    running = await proxy(server, uploads=True)
    size = 128 * MIB
    written = 0

    async def upload(writer):
        nonlocal written
        writer.write(request_head("/upload/pypi/internal", f"Content-Length: {size}", method="POST"))
        for _ in range(size // MIB):
            writer.write(b"x" * MIB)
            await writer.drain()
            written += MIB

    async with running.connected() as (reader, writer):
        sending = asyncio.create_task(upload(writer))
        await wait_until(lambda: server.requests)
        stuck_at = await settled(lambda: written)
        server.clear_faults()
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 15)
        await sending

    assert 0 < stuck_at < 48 * MIB
    assert status_of(head) == 400  # no form, but all of it
    assert server.requests[0].body_length == size


async def test_the_first_bytes_come_before_the_last(package_manager, proxy):
    server = await package_manager()
    file = server.add_large("big-1.0-py3-none-any.whl", 100_000)
    server.add_fault("*.whl", Trickle(1000, 0.02))
    running = await proxy(server)

    async with running.connected() as (reader, writer):
        writer.write(request_head(f"/pypi/latest/packages/{file.id}/{file.filename}"))
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(1000)

        assert server.requests[-1].sent < 100_000


async def test_no_more_connections_than_the_settings_say(package_manager, proxy):
    server = await package_manager()
    server.add(wheel("hello"))
    server.add_fault("*", NoAnswer())
    running = await proxy(server, max_connections=2, scheme=Scheme.BEARER)

    waiting = [asyncio.create_task(running.get(PAGE)) for _ in range(6)]
    await wait_until(lambda: running.state.in_flight == 6)
    reached = await settled(lambda: len(server.requests))
    server.clear_faults()
    replies = await asyncio.gather(*waiting)

    assert reached == 2
    assert {reply.status for reply in replies} == {200}
