"""Claims about the CONNECT proxy over real sockets: who is admitted, what is intercepted, how tunnels end."""

import asyncio
import base64
import contextlib
import socket
import ssl
import struct

import pytest
import real_users
import structlog
from aiohttp import web
from forward_proxy import ForwardProxy
from free_ports import free_port

from ppmproxy.access.admission import Admission
from ppmproxy.access.limits import Limits
from ppmproxy.access.peer_credentials import PeerUids, own_uid
from ppmproxy.access.policy import Users
from ppmproxy.config.model import Upstream
from ppmproxy.server.intercept import connect_proxy
from ppmproxy.server.intercept.authority import RunAuthority
from ppmproxy.server.intercept.connect_proxy import ConnectProxy
from ppmproxy.server.intercept.connect_request import USER, Authority, ConnectRules
from ppmproxy.server.intercept.handler_answerer import HandlerAnswerer
from ppmproxy.server.intercept.intercepted_connection import Interceptor
from ppmproxy.server.intercept.intercepted_request import InterceptedRequest

two_users = real_users.two_users

UPSTREAM = Authority("packagemanager.example.com", 443)
HOST = UPSTREAM.host.encode()
PASSWORD = "the-password-of-the-run"
PROOF = "Proxy-Authorization: Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
DEADLINE = 60


class Served:
    """A running CONNECT proxy, whose intercepted requests are answered with their own first line."""

    def __init__(self, forward_proxy=None, limits=Limits()):  # noqa: B008 - frozen
        self.authority = RunAuthority([UPSTREAM.host])
        self._peers = PeerUids()
        self.admission = Admission(Users(own_uid()), self._peers, limits)
        rules = ConnectRules(frozenset({UPSTREAM}), frozenset(), PASSWORD)
        upstream = Upstream(url=f"https://{UPSTREAM.host}")
        handler_for = Interceptor({UPSTREAM: [upstream]}, _answerer, _answerer).connection_for
        log = structlog.get_logger("ppmproxy")
        self.proxy = ConnectProxy(rules, self.authority, self.admission, handler_for, lambda _: forward_proxy, log)

    async def __aenter__(self):
        self._server = await asyncio.get_running_loop().create_server(self.proxy, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        self.proxy.close()
        self._peers.close()
        await asyncio.sleep(0)

    @contextlib.asynccontextmanager
    async def connected(self, target, *headers, limit=1 << 16):
        """A connection on which CONNECT was sent: the status of its answer, and its two streams."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=limit)
        writer.write("\r\n".join([f"CONNECT {target} HTTP/1.1", *headers, "", ""]).encode())
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE)
            yield int(head.split()[1]), reader, writer
        finally:
            writer.transport.abort()

    @property
    def client_context(self):
        return ssl.create_default_context(cadata=self.authority.pem)


def _answerer(upstream, client):
    async def answer(request):
        return web.Response(text=f"{request.method} {upstream.url}{request.path}")

    return HandlerAnswerer(web.Server(answer)(), client.connected, InterceptedRequest.for_host)


@contextlib.asynccontextmanager
async def echo_server(serve=None):
    """A server on loopback that sends back what it gets, with its port."""

    async def echo(reader, writer):
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()

    server = await asyncio.start_server(serve or echo, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def asked(served, request, server_hostname=UPSTREAM.host):
    """The answer to a request inside an intercepted connection, up to its end."""
    async with served.connected(UPSTREAM, PROOF) as (status, reader, writer):
        assert status == 200
        await writer.start_tls(served.client_context, server_hostname=server_hostname)
        writer.write(request)
        return await asyncio.wait_for(reader.read(), DEADLINE)


@pytest.mark.skipif(not hasattr(asyncio.StreamWriter, "start_tls"), reason="Python 3.11 has StreamWriter.start_tls")
async def test_an_upstream_s_connection_is_answered_inside_tls():
    async with Served() as served:
        answer = await asked(served, b"GET /pypi/ HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % HOST)

    assert answer.endswith(b"GET https://packagemanager.example.com/pypi/")


@pytest.mark.skipif(not hasattr(asyncio.StreamWriter, "start_tls"), reason="Python 3.11 has StreamWriter.start_tls")
@pytest.mark.parametrize(
    "preface",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_what_is_no_http_1_inside_is_refused_in_our_words_and_without_a_traceback(preface, caplog):
    async with Served() as served:
        answer = await asked(served, preface)

    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert b"\r\nX-Ppmproxy-Error: bad-target\r\n" in answer
    assert [record for record in caplog.records if record.exc_info] == []


@pytest.mark.skipif(not hasattr(asyncio.StreamWriter, "start_tls"), reason="Python 3.11 has StreamWriter.start_tls")
async def test_a_handshake_for_another_name_fails():
    async with Served() as served:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asked(served, b"", server_hostname="pypi.example.org")


async def test_a_client_that_leaves_in_its_handshake_leaves_nothing_behind():
    async with Served() as served:
        for _ in range(20):
            async with served.connected(UPSTREAM, PROOF) as (status, _, writer):
                assert status == 200
                writer.write(b"\x16\x03\x01")
        async with asyncio.timeout(DEADLINE) if hasattr(asyncio, "timeout") else contextlib.nullcontext():
            while served.proxy.connections:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("end", ["reset", "silence"])
async def test_a_connection_that_is_lost_in_its_handshake_leaves_no_place_taken(end, monkeypatch):
    monkeypatch.setattr(connect_proxy, "HANDSHAKE_TIMEOUT", 0.1 if end == "silence" else DEADLINE)
    async with Served() as served:
        for _ in range(3):
            async with served.connected(UPSTREAM, PROOF) as (_, reader, writer):
                if end == "silence":
                    with contextlib.suppress(ConnectionError):
                        await asyncio.wait_for(reader.read(), DEADLINE)
                else:
                    connection = writer.get_extra_info("socket")
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        deadline = asyncio.get_running_loop().time() + DEADLINE
        while served.proxy.connections and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)

        assert not served.proxy.connections


@pytest.mark.parametrize("host", ["pypi..example.org", f"{'a' * 64}.example.org"])
async def test_a_name_that_no_name_server_is_asked_for_is_refused(host):
    async with Served() as served, served.connected(f"{host}:443", PROOF) as (status, _, _):
        assert status == 502


@pytest.mark.parametrize("headers", [(), ("Proxy-Authorization: Basic AAAA",)])
async def test_without_the_password_there_is_neither_tunnel_nor_interception(headers):
    async with Served() as served, echo_server() as port:
        for target in (UPSTREAM, f"127.0.0.1:{port}"):
            async with served.connected(target, *headers) as (status, _, _):
                assert status == 407


async def test_another_user_is_refused_even_with_the_password(two_users):
    user, _ = two_users
    async with Served() as served:
        request = f"CONNECT {UPSTREAM} HTTP/1.1\r\n{PROOF}\r\n\r\n"
        answer = await asyncio.to_thread(user.told, request, ["127.0.0.1", served.port])

    assert answer.startswith("HTTP/1.1 403 ")


async def test_a_connection_beyond_the_limit_is_refused_with_503():
    async with Served(limits=Limits(total=0)) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        refusal = await asyncio.wait_for(reader.read(), DEADLINE)
        writer.close()

    assert refusal.startswith(b"HTTP/1.1 503 ")
    assert b"too many connections" in refusal


async def test_a_tunnel_passes_bytes_unread_in_both_directions():
    data = bytes(range(256)) * 40_000
    async with (
        Served() as served,
        echo_server() as port,
        served.connected(f"127.0.0.1:{port}", PROOF) as (status, reader, writer),
    ):
        writer.write(data)
        assert status == 200
        assert await asyncio.wait_for(reader.readexactly(len(data)), DEADLINE) == data


async def test_a_tunnel_whose_one_direction_has_ended_goes_on_in_the_other():
    async def answer_at_the_end(reader, writer):
        sent = await reader.read()
        writer.write(b"%d bytes" % len(sent))
        writer.close()

    async with (
        Served() as served,
        echo_server(answer_at_the_end) as port,
        served.connected(f"127.0.0.1:{port}", PROOF) as (_, reader, writer),
    ):
        writer.write(b"x" * 1000)
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), DEADLINE) == b"1000 bytes"


async def test_a_slow_client_slows_the_server_and_not_the_proxy():
    sent = 0

    async def send_much(_, writer):
        nonlocal sent
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            while sent < 1 << 28:
                writer.write(bytes(1 << 16))
                await writer.drain()
                sent += 1 << 16

    async with (
        Served() as served,
        echo_server(send_much) as port,
        served.connected(f"127.0.0.1:{port}", PROOF, limit=1 << 10) as (_, reader, _),
    ):
        before = -1
        while before != sent:  # until the server is held up
            before = sent
            await asyncio.sleep(0.2)
        assert sent < 1 << 26
        await reader.read(1)


async def test_an_unreachable_server_is_reported_with_its_name():
    async with Served() as served, served.connected(f"127.0.0.1:{free_port()}", PROOF) as (status, _, _):
        assert status == 502


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 403 Blocked by policy\r\n\r\n", 403),
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", 502),
        (b"not HTTP\r\n\r\n", 502),
    ],
)
async def test_a_forward_proxy_s_refusal_is_passed_on(answer, status):
    async with (
        ForwardProxy(answer) as forward_proxy,
        Served(forward_proxy.url) as served,
        served.connected("pypi.example.org:443", PROOF) as (given, _, _),
    ):
        assert given == status


async def test_a_tunnel_goes_through_the_forward_proxy_with_its_password():
    async with ForwardProxy() as forward_proxy, echo_server() as port:
        url = forward_proxy.url.replace("http://", "http://us%C3%A9r:p%40ss@")
        async with (
            Served(url) as served,
            served.connected(f"pypi.example.org:{port}", PROOF) as (status, reader, writer),
        ):
            writer.write(b"through")
            assert status == 200
            assert await asyncio.wait_for(reader.readexactly(7), DEADLINE) == b"through"

    expected = base64.b64encode("usér:p@ss".encode()).decode()
    assert f"Proxy-Authorization: Basic {expected}" in forward_proxy.heads[0]


async def test_a_tunnel_through_a_forward_proxy_with_tls_ends_with_the_server_and_asyncio_says_nothing(
    authority, ca_file, monkeypatch, caplog
):
    async def answer_and_close(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        writer.write(await reader.readexactly(7))
        writer.close()

    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    context = authority.server_context(("127.0.0.1",))
    forward_proxy = await asyncio.start_server(answer_and_close, "127.0.0.1", 0, ssl=context)
    async with (
        forward_proxy,
        Served(f"https://127.0.0.1:{forward_proxy.sockets[0].getsockname()[1]}") as served,
        served.connected("pypi.example.org:443", PROOF) as (_, reader, writer),
    ):
        writer.write(b"through")
        assert await asyncio.wait_for(reader.read(), DEADLINE) == b"through"

    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


async def test_hundreds_of_tunnels_at_once_leave_no_place_taken():
    async with Served() as served, echo_server() as port:

        async def once(number):
            async with served.connected(f"127.0.0.1:{port}", PROOF) as (_, reader, writer):
                writer.write(b"%06d" % number)
                return await asyncio.wait_for(reader.readexactly(6), DEADLINE)

        found = await asyncio.gather(*(once(number) for number in range(300)))
        while served.proxy.connections:
            await asyncio.sleep(0.01)

    assert found == [b"%06d" % number for number in range(300)]


async def test_a_plain_http_request_is_answered_by_its_server():
    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + head)
        writer.close()

    async with Served() as served, echo_server(serve) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(f"GET http://127.0.0.1:{port}/x HTTP/1.1\r\nHost: h\r\n{PROOF}\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(), DEADLINE)
        writer.close()

    assert answer.endswith(b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert PASSWORD.encode() not in answer


async def test_a_second_plain_request_does_not_go_to_the_server_of_the_first():
    received = bytearray()

    async def serve(reader, writer):
        while data := await reader.read(1 << 16):
            received.extend(data)
            if received.endswith(b"body"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")  # and it keeps the connection open
        writer.close()

    head = f"POST http://127.0.0.1:{{port}}/x HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n{PROOF}\r\n\r\nbo"
    second = f"GET http://pypi.example.org/ HTTP/1.1\r\nHost: pypi.example.org\r\nCookie: its-own\r\n{PROOF}\r\n\r\n"
    async with Served() as served, echo_server(serve) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(head.format(port=port).encode())
        writer.write(b"dy")
        await asyncio.wait_for(reader.readuntil(b"ok"), DEADLINE)
        writer.write(second.encode())
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), DEADLINE) == b""
        writer.close()

    assert received == b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"
    assert not served.proxy.connections
