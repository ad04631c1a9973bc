"""Claims about attacks and a newcomer's mistakes: each gets an error response, and nothing leaks."""

import asyncio
import base64
import gzip
import os

import pytest
from proxy_client import PIP, UV, leaked_forms, wait_until

from ppmproxy.auth.credential import token_problem
from ppmproxy.auth.policy import Scheme
from ppmproxy.auth.secret import Secret
from ppmproxy.config.local_address import TcpAddress
from ppmproxy.config.model import Settings, Upstream
from ppmproxy.environment import Environment
from ppmproxy.errors import ConfigError
from ppmproxy.index.codings import Decoder
from ppmproxy.server import error_bodies
from ppmproxy.server.daemon import Daemon
from ppmproxy.testing.package_manager import RedirectTo, Status, wheel
from ppmproxy.upstream.tls import Trust

PAGE = "/pypi/latest/simple/hello/"


@pytest.fixture
async def server(package_manager):
    started = await package_manager()
    started.add(wheel("hello"))
    return started


async def test_an_upstream_that_is_this_very_proxy_is_refused_at_the_start(tmp_path, unused_tcp_port):
    upstream = Upstream(url=f"http://localhost:{unused_tcp_port}", configured=True)
    settings = Settings(listen=(TcpAddress("127.0.0.1", unused_tcp_port),), upstreams=(upstream,))

    with pytest.raises(ConfigError, match="is ppmproxy itself"):
        await Daemon.start(settings, Environment({}, tmp_path))


def test_a_named_pipe_as_ca_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(ConfigError, match="not a regular file"):
        Trust(Upstream(ca_file=tmp_path / "pipe"), with_client_certificate=False).context()


def credential_of(token):
    return base64.b64encode(f"__token__:{token}".encode()).decode()


@pytest.mark.parametrize("agent", [PIP, UV])
@pytest.mark.parametrize(
    "echo",
    [
        lambda token: f"you sent {token[:20]}\n{token[20:]}",
        lambda token: f"you sent {credential_of(token)[:30]}\r\n {credential_of(token)[30:]}",
        lambda token: f"you sent {token[:9]}<wbr>{token[9:]}",
        lambda token: "x" * (16384 - 30) + " tok=" + token,
    ],
    ids=["broken in two", "Base64 broken in two", "with a tag in it", "cut by the limit"],
)
async def test_a_refusal_that_echoes_the_token_in_pieces_shows_no_piece_of_it(server, proxy, logs, agent, echo):
    body = echo(server.token).encode()
    server.add_fault("*", Status(403, body=body, headers=(("Content-Type", "text/html"),)))
    running = await proxy(server)

    reply = await running.get(PAGE, {"User-Agent": agent})

    shown = "".join([reply.text(), str(reply.headers), logs.text])
    assert reply.headers["X-Ppmproxy-Error"] == "not-permitted"
    assert server.token[:20] not in shown
    assert credential_of(server.token)[20:50] not in shown
    assert leaked_forms(server.token, shown) == []


async def test_of_a_refusal_that_inflates_without_end_no_more_is_unpacked_than_is_read(server, proxy, monkeypatch):
    unpacked = []

    class Counting(Decoder):
        def feed(self, chunk):
            for piece in super().feed(chunk):
                unpacked.append(len(piece))
                yield piece

    monkeypatch.setattr(error_bodies, "Decoder", Counting)
    bomb = gzip.compress(b"no " * (1 << 22))
    server.add_fault("*", Status(403, body=bomb, headers=(("Content-Encoding", "gzip"),)))
    running = await proxy(server, scheme=Scheme.BASIC)

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert reply.status == 451
    assert len(unpacked) == 1


@pytest.mark.parametrize("path", ["/__api__/tokens", "/upload/../__api__/tokens", "/x/__API__/tokens"])
async def test_no_redirect_leads_into_the_part_of_the_api_that_is_not_forwarded(server, proxy, path):
    server.add_fault("*/simple/*", RedirectTo(server.url + path))
    running = await proxy(server)

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert reply.status == 424
    assert not any("tokens" in seen.target and seen.authorization for seen in server.requests)


async def answering(head):
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"HTTP/1.1 200 O\x1b[31mK\r\nContent-Length: 2\r\n\r\nok", 200),
        (b"HTTP/1.1 200 OK\r\nX-Odd: a\x1b[31m\r\nContent-Length: 2\r\n\r\nok", 200),
        (b"HTTP/1.1 200 " + b"long " * 8000 + b"\r\nContent-Length: 2\r\n\r\nok", 200),
        (b"HTTP/1.1 501 Bo\x1b[31mom\r\nContent-Length: 0\r\n\r\n", 424),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", 424),
    ],
    ids=["reason", "header", "long reason", "reason of a failure", "101"],
)
async def test_control_characters_of_an_upstream_head_reach_no_terminal_and_break_no_response(
    proxy, logs, head, status
):
    server = await answering(head)
    port = server.sockets[0].getsockname()[1]
    async with server:
        running = await proxy(Upstream(url=f"http://127.0.0.1:{port}", configured=True), environ={})
        reply = await running.get("/x", {"User-Agent": UV})

    assert reply.status == status
    assert len(reply.reason) < 1000
    assert "\x1b" not in reply.reason + str(dict(reply.headers)) + logs.text
    assert "\\u001b" not in logs.text + reply.text()
    assert logs.events("request_failed") == []


async def test_control_characters_of_an_upstream_head_reach_no_terminal_through_readiness(proxy):
    server = await answering(b"HTTP/1.1 503 Bo\x1b[31mom\r\nContent-Length: 0\r\n\r\n")
    port = server.sockets[0].getsockname()[1]
    async with server:
        running = await proxy(Upstream(url=f"http://127.0.0.1:{port}", configured=True), environ={})
        await running.get("/-/ready")  # has the server looked at
        await wait_until(lambda: running.state.upstream("default").outage)
        told = (await running.get("/-/ready")).text() + (await running.get("/-/status")).text()

    assert told.count("503 Bo?[31mom") == 2


@pytest.mark.parametrize("token", ['"abcdefgh"', "'abcdefgh'"])
def test_a_token_pasted_with_its_quotes_is_reported_as_that(token):
    assert "quotes" in token_problem(Secret(token))
