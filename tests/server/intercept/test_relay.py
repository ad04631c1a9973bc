"""Claims about the relay of `exec --intercept`: whom it asks with what, over real sockets."""

import asyncio
import contextlib

import aiohttp
import pytest
from aiohttp import web

from ppmproxy.access.daemon_identity import INTERCEPT_HEADER, IdentityKey
from ppmproxy.config.model import Upstream
from ppmproxy.server.intercept import relay
from ppmproxy.server.intercept.connect_request import authority_of_upstream
from ppmproxy.server.intercept.relay import DaemonAddress, InterceptRelay

UPSTREAM = Upstream(url="https://packagemanager.example.com/rspm")
HOST = "packagemanager.example.com"
ORIGIN = f"https://{HOST}"
PATH = "/rspm/pypi/latest/simple/hello/"
FIRST, SECOND = IdentityKey.generate(), IdentityKey.generate()


class Asked:
    """A server at the daemon's address, and the requests that it received."""

    def __init__(self):
        self.requests = []
        self.bodies = []

    async def answer(self, request):
        self.requests.append(request)
        self.bodies.append(await request.read())
        return web.Response(text="a page")


@contextlib.asynccontextmanager
async def served(answer):
    """A server on a free port: its URL."""
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@contextlib.asynccontextmanager
async def relayed(listener, find_key):
    """A client's view of the relay, whose daemon has the first key at its start."""
    async with served(listener.answer) as daemon:
        answering = InterceptRelay(DaemonAddress(daemon, FIRST, find_key), [UPSTREAM], set())
        authority = authority_of_upstream(UPSTREAM)
        async with (
            served(lambda request: answering.answer(request, authority)) as url,
            aiohttp.ClientSession(headers={"Host": HOST}) as session,
        ):
            yield session, url
        await answering.close()


async def test_a_client_s_own_credentials_do_not_go_to_the_daemon():
    listener = Asked()
    async with relayed(listener, lambda: FIRST) as (session, url):
        own = {"Authorization": "Basic c2VjcmV0", "Cookie": "session=1", "Proxy-Authorization": "Basic x", "X-Own": "1"}
        async with session.get(url + PATH, headers=own) as reply:
            assert (reply.status, await reply.text()) == (200, "a page")

    [seen] = listener.requests
    assert not {"Authorization", "Cookie", "Proxy-Authorization"} & set(seen.headers)
    assert seen.headers["X-Own"] == "1"


async def test_a_stranger_at_the_daemon_s_address_is_asked_nothing(monkeypatch):
    monkeypatch.setattr(relay, "RESTART_WITHIN", 0.1)
    listener = Asked()
    async with relayed(listener, lambda: None) as (session, url), session.get(url + PATH) as reply:
        text = await reply.text()

    assert reply.status == 424
    assert "cannot prove to be yours" in text
    assert listener.requests == []


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_daemon_that_was_restarted_is_asked_with_its_new_key(method):
    listener = Asked()
    body = b"body" if method == "POST" else None
    async with (
        relayed(listener, lambda: SECOND) as (session, url),
        session.request(method, url + PATH, data=body) as reply,
    ):
        assert reply.status == 200

    [seen] = listener.requests
    assert listener.bodies == [body or b""]
    assert seen.headers[INTERCEPT_HEADER] == SECOND.intercept_header(ORIGIN, method, PATH)


async def test_a_daemon_that_is_being_restarted_is_waited_for():
    found = iter([None, SECOND, SECOND])
    async with relayed(Asked(), lambda: next(found)) as (session, url), session.get(url + PATH) as reply:
        assert reply.status == 200


async def test_all_that_is_asked_at_once_after_a_restart_has_the_new_key():
    listener = Asked()
    async with relayed(listener, lambda: SECOND) as (session, url):
        await asyncio.gather(*(session.get(url + PATH) for _ in range(5)))

    proofs = {seen.headers[INTERCEPT_HEADER] for seen in listener.requests}
    assert proofs == {SECOND.intercept_header(ORIGIN, "GET", PATH)}


async def test_a_daemon_that_is_another_one_each_time_is_reported():
    async with relayed(Asked(), IdentityKey.generate) as (session, url), session.get(url + PATH) as reply:
        assert reply.status == 424
