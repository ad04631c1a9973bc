"""Claims about requests for what else lives on an upstream's host, passed on over TLS that is verified."""

import asyncio
import contextlib
import ssl

import aiohttp
import pytest
import trustme
from aiohttp import web

from ppmproxy.access.limits import Limits
from ppmproxy.config.model import Upstream
from ppmproxy.server.intercept.host_relay import HostRelay

DEADLINE = 60


@contextlib.asynccontextmanager
async def relayed(answer, folder, limits=None, *, trusted=True):
    """The address of a server whose requests go to a host that answers."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    (authority if trusted else trustme.CA()).cert_pem.write_to_path(str(folder / "ca.pem"))
    loop = asyncio.get_running_loop()
    host = await loop.create_server(web.Server(answer), "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{host.sockets[0].getsockname()[1]}"
    relay = HostRelay(Upstream(url=f"{url}/rspm", ca_file=folder / "ca.pem"), limits or Limits())
    server = await loop.create_server(relay.connection, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()
    finally:
        server.close()
        host.close()
        await relay.close()


async def test_it_goes_with_the_client_s_own_headers_and_comes_back_as_it_is(tmp_path):
    async def answer(request):
        assert request.headers["Authorization"] == "Bearer own"
        assert "X-Hop" not in request.headers
        headers = {"X-Own": "1", "Alt-Svc": 'h3=":443"', "Set-Cookie": "a=b"}
        return web.Response(status=201, reason="Made", text=await request.text(), headers=headers)

    own = {"Authorization": "Bearer own", "Connection": "X-Hop", "X-Hop": "1"}
    async with (
        relayed(answer, tmp_path) as (host, port),
        aiohttp.ClientSession() as session,
        session.put(f"http://{host}:{port}/git/a", data="body", headers=own) as reply,
    ):
        assert (reply.status, reply.reason, await reply.text()) == (201, "Made", "body")
        assert reply.headers["X-Own"] == "1"
        assert reply.headers["Set-Cookie"] == "a=b"
        assert "Alt-Svc" not in reply.headers


async def test_a_host_that_is_not_trusted_gets_nothing(tmp_path):
    asked = []

    async def answer(request):
        asked.append(request)
        return web.Response()

    async with (
        relayed(answer, tmp_path, trusted=False) as (host, port),
        aiohttp.ClientSession() as session,
        session.get(f"http://{host}:{port}/git/a") as reply,
    ):
        assert (reply.status, reply.headers["X-Ppmproxy-Error"]) == (424, "upstream-unreachable")

    assert asked == []


async def test_a_client_that_stops_in_the_middle_of_a_body_is_cut(tmp_path):
    async def answer(request):
        return web.Response(text=await request.text())

    async with relayed(answer, tmp_path, Limits(body=0.1)) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"POST /git/a HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf")
        with contextlib.suppress(ConnectionError):
            assert b"half" not in await asyncio.wait_for(reader.read(), DEADLINE)
        writer.close()


@pytest.mark.parametrize("silent", [True, False])
async def test_a_connection_without_a_request_ends_by_itself(silent, tmp_path):
    async def answer(_):
        return web.Response()

    async with relayed(answer, tmp_path, Limits(idle=0.1)) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"" if silent else b"GET /git/a HTTP/1.1\r\nHost: h\r\n\r\n")
        await asyncio.wait_for(reader.read(), DEADLINE)
        writer.close()
