"""Claims about the link to the running daemon: whom it asks with what, over real sockets."""

import asyncio
import contextlib
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web

from ppmproxy.access.identity_key import INTERCEPT_HEADER, PAGE, IdentityKey, endpoint_of, nonce_of_query
from ppmproxy.config.model import Upstream
from ppmproxy.server.intercept import daemon_connection, daemon_link
from ppmproxy.server.intercept.connect_request import authority_of_upstream
from ppmproxy.server.intercept.daemon_connection import DaemonAddress
from ppmproxy.server.intercept.daemon_link import DaemonLink
from ppmproxy.server.intercept.intercepted_connection import Interceptor

UPSTREAM = Upstream(url="https://packagemanager.example.com/rspm")
HOST = "packagemanager.example.com"
ORIGIN = f"https://{HOST}"
PATH = "/rspm/pypi/latest/simple/hello/"
DEADLINE = 60
FIRST, SECOND = IdentityKey.generate(), IdentityKey.generate()


class Listener:
    """A server at the daemon's address that proves itself with a key, and the requests that it received besides."""

    def __init__(self, key, *, closes_after=0, closes_first=False):
        self.key = key
        self.requests = []
        self.bodies = []
        self.proofs = 0
        self._closes_after = closes_after  # requests, without an answer to the next one
        self._closes_first = closes_first  # without an answer to the first request

    async def answer(self, request):
        if request.path == PAGE:
            self.proofs += 1
            place = endpoint_of(request.transport.get_extra_info("sockname"))
            return web.Response(text=self.key.proof(nonce_of_query(request.query_string), place) + "\n")
        self.requests.append(request)
        self.bodies.append(await request.read())
        is_one_too_many = self._closes_after and len(self.requests) == self._closes_after + 1
        if is_one_too_many or (self._closes_first and len(self.requests) == 1):
            request.transport.close()
        return web.Response(text="a page")


@contextlib.asynccontextmanager
async def served(factory):
    """A server on a free port: its URL."""
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        if isinstance(factory, web.Server):
            await factory.shutdown(0)


@contextlib.asynccontextmanager
async def linked(listener, find_key=lambda: FIRST, ready=0):
    """A client's view of an intercepted connection, whose daemon had the first key at the start."""
    async with served(web.Server(listener.answer)) as daemon:
        address = DaemonAddress(daemon, FIRST, find_key)
        await address.prepare(ready)
        authority = authority_of_upstream(UPSTREAM)

        def link(upstream, client):
            return DaemonLink(address, upstream.origin, client)

        shared = Interceptor({authority: [UPSTREAM]}, link, link)
        connector = aiohttp.TCPConnector(limit=10)
        async with (
            served(lambda: shared.connection_for(authority, lambda: None)) as url,
            aiohttp.ClientSession(headers={"Host": HOST}, connector=connector) as session,
        ):
            yield session, url
        address.close()


async def test_the_daemon_is_asked_by_the_real_url_with_a_proof():
    listener = Listener(FIRST)
    async with linked(listener) as (session, url), session.get(url + PATH) as reply:
        assert (reply.status, await reply.text()) == (200, "a page")

    [seen] = listener.requests
    assert seen.headers[INTERCEPT_HEADER] == FIRST.intercept_header(ORIGIN, "GET", PATH)


async def test_a_daemon_proves_itself_once_for_all_requests_of_a_connection():
    listener = Listener(FIRST)
    async with linked(listener) as (session, url):
        for _ in range(3):
            async with session.get(url + PATH) as reply:
                await reply.read()

    assert (listener.proofs, len(listener.requests)) == (1, 3)


async def test_a_client_s_own_credentials_do_not_go_to_the_daemon():
    listener = Listener(FIRST)
    own = {"Authorization": "Basic c2VjcmV0", "Cookie": "session=1", "Proxy-Authorization": "Basic x", "X-Own": "1"}
    async with linked(listener) as (session, url), session.get(url + PATH, headers=own):
        pass

    [seen] = listener.requests
    assert not {"Authorization", "Cookie", "Proxy-Authorization"} & set(seen.headers)
    assert seen.headers["X-Own"] == "1"


@pytest.mark.parametrize("key", [SECOND, None])
async def test_a_stranger_at_the_daemon_s_address_is_asked_nothing(key, monkeypatch):
    monkeypatch.setattr(daemon_link, "RESTART_WITHIN", 0.1)
    listener = Listener(key or IdentityKey.generate())
    async with linked(listener, lambda: None) as (session, url), session.post(url + PATH, data=b"secret") as reply:
        text = await reply.text()

    assert reply.status == 424
    assert "has no proof that it is yours" in text
    assert listener.requests == []


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 9000, b"HTTP/1.1 200 OK\r\n"]
)
async def test_another_program_at_the_daemon_s_address_is_asked_nothing(answer, monkeypatch):
    monkeypatch.setattr(daemon_link, "RESTART_WITHIN", 0.1)
    monkeypatch.setattr(daemon_connection, "PROOF_TIMEOUT", 0.1)
    received = bytearray()

    async def program(reader, writer):
        writer.write(answer)
        with contextlib.suppress(ConnectionError):
            received.extend(await reader.read())
        writer.close()

    server = await asyncio.start_server(program, "127.0.0.1", 0)
    address = DaemonAddress(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", FIRST, lambda: None)
    authority = authority_of_upstream(UPSTREAM)
    shared = Interceptor({authority: [UPSTREAM]}, lambda up, client: DaemonLink(address, up.origin, client), None)
    async with (
        served(lambda: shared.connection_for(authority, lambda: None)) as url,
        aiohttp.ClientSession(headers={"Host": HOST}) as session,
        session.get(url + PATH) as reply,
    ):
        assert reply.status == 424
    server.close()

    assert INTERCEPT_HEADER.encode() not in received


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_daemon_that_was_restarted_is_asked_with_its_new_key(method):
    listener = Listener(SECOND)
    body = b"body" if method == "POST" else None
    async with (
        linked(listener, lambda: SECOND) as (session, url),
        session.request(method, url + PATH, data=body) as reply,
    ):
        assert reply.status == 200

    [seen] = listener.requests
    assert listener.bodies == [body or b""]
    assert seen.headers[INTERCEPT_HEADER] == SECOND.intercept_header(ORIGIN, method, PATH)


async def test_a_daemon_that_is_being_restarted_is_waited_for():
    found = iter([None, SECOND])
    async with linked(Listener(SECOND), lambda: next(found)) as (session, url), session.get(url + PATH) as reply:
        assert reply.status == 200


async def test_all_that_is_asked_at_once_after_a_restart_has_the_new_key():
    listener = Listener(SECOND)
    async with linked(listener, lambda: SECOND) as (session, url):
        await asyncio.gather(*(session.get(url + PATH) for _ in range(5)))

    proofs = {seen.headers[INTERCEPT_HEADER] for seen in listener.requests}
    assert proofs == {SECOND.intercept_header(ORIGIN, "GET", PATH)}


async def test_a_daemon_that_is_another_one_each_time_is_reported(monkeypatch):
    monkeypatch.setattr(daemon_link, "RESTART_WITHIN", 0.1)
    async with linked(Listener(FIRST), IdentityKey.generate) as (session, url), session.get(url + PATH) as reply:
        assert reply.status == 200
    async with linked(Listener(SECOND), IdentityKey.generate) as (session, url), session.get(url + PATH) as reply:
        assert reply.status == 424


async def test_what_the_daemon_did_not_answer_over_a_used_connection_is_asked_again():
    listener = Listener(FIRST, closes_after=1)
    async with linked(listener) as (session, url):
        for _ in range(2):
            async with session.get(url + PATH) as reply:
                assert (reply.status, await reply.text()) == (200, "a page")

    assert (listener.proofs, len(listener.requests)) == (2, 3)


async def test_of_two_requests_that_the_daemon_did_not_answer_neither_is_sent_twice():
    listener = Listener(FIRST, closes_after=1)
    get = f"GET {PATH} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    async with linked(listener) as (_, url):
        address = urlsplit(url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(get)
        await asyncio.wait_for(reader.readuntil(b"a page"), DEADLINE)
        writer.write(get + get)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), DEADLINE) == b""
        writer.close()

    assert len(listener.requests) == 2


async def test_an_upload_that_the_daemon_did_not_answer_is_not_sent_twice():
    listener = Listener(FIRST, closes_after=1)
    async with linked(listener) as (session, url):
        async with session.get(url + PATH) as reply:
            await reply.read()
        with pytest.raises(aiohttp.ClientError):
            await session.post(url + PATH, data=b"x")

    assert len(listener.requests) == 2


async def test_a_large_body_passes_in_both_directions():
    class Echo(Listener):
        async def answer(self, request):
            if request.path == PAGE:
                return await super().answer(request)
            return web.Response(body=await request.read())

    data = bytes(range(256)) * 4_000
    async with linked(Echo(FIRST)) as (session, url):
        async with session.post(url + PATH, data=data) as reply:
            assert await reply.read() == data
        async with session.get(url + PATH) as reply:
            assert reply.status == 200


async def test_a_body_that_the_daemon_cuts_is_cut_for_the_client():
    class Cutting(Listener):
        async def answer(self, request):
            if request.path == PAGE:
                return await super().answer(request)
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b"half")
            request.transport.close()
            return response

    async with linked(Cutting(FIRST)) as (session, url), session.get(url + PATH) as reply:
        with pytest.raises(aiohttp.ClientPayloadError):
            await reply.read()


async def test_connections_that_are_ready_carry_the_first_requests_without_a_further_proof():
    listener = Listener(FIRST)
    async with linked(listener, ready=2) as (session, url):
        proofs = listener.proofs
        replies = await asyncio.gather(*(session.get(url + PATH) for _ in range(2)))
        for reply in replies:
            await reply.read()

    assert (proofs, listener.proofs, len(listener.requests)) == (2, 2, 2)


async def test_as_many_are_made_ready_again_when_half_of_them_are_taken():
    listener = Listener(FIRST)
    async with served(web.Server(listener.answer)) as url:
        address = DaemonAddress(url, FIRST, lambda: FIRST)
        keeping = asyncio.create_task(address.keep_ready(4, 2))
        while len(address.ready) < 4:
            await asyncio.sleep(0)
        taken = [address.take_ready() for _ in range(2)]

        await asyncio.wait_for(keeping, DEADLINE)

        assert (listener.proofs, len(address.ready)) == (6, 4)
        for connection in taken:
            connection.abort()
        address.close()


async def test_no_connection_is_ready_at_a_stranger():
    async with served(web.Server(Listener(SECOND).answer)) as url:
        address = DaemonAddress(url, FIRST, lambda: None)

        await address.prepare(3)

        assert address.take_ready() is None


async def test_a_request_over_a_ready_connection_that_the_daemon_closes_is_sent_again():
    listener = Listener(FIRST, closes_first=True)
    async with linked(listener, ready=1) as (session, url), session.get(url + PATH) as reply:
        assert (reply.status, await reply.text()) == (200, "a page")

    assert (listener.proofs, len(listener.requests)) == (2, 2)


async def test_an_upload_goes_over_a_connection_that_has_not_been_idle():
    listener = Listener(FIRST)
    async with linked(listener, ready=1) as (session, url), session.post(url + PATH, data=b"wheel") as reply:
        assert reply.status == 200

    assert (listener.proofs, listener.bodies) == (2, [b"wheel"])


async def test_what_nobody_has_taken_is_closed_at_the_end():
    async with served(web.Server(Listener(FIRST).answer)) as url:
        address = DaemonAddress(url, FIRST, lambda: FIRST)
        await address.prepare(1)
        [connection] = address.ready

        address.close()

        assert not connection.is_open
        assert address.take_ready() is None
