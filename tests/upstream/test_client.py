"""Claims about redirects, which are followed inside, and about requests that are sent again."""

import asyncio

import pytest
from proxy_client import UV

from ppmproxy.errors import UpstreamUnreachableError
from ppmproxy.testing.package_manager import CloseBeforeHead, RedirectLoop, RedirectTo, Status, wheel
from ppmproxy.upstream.client import UpstreamClient
from ppmproxy.upstream.messages import UpstreamRequest
from ppmproxy.upstream.retries import NO_RETRIES

PAGE = "/pypi/latest/simple/hello/"
MIB = 1 << 20


# --- redirects ---


async def test_redirects_are_followed_inside(package_manager, proxy):
    server = await package_manager(base_path="/rspm")
    server.add(wheel("hello"))
    running = await proxy(server)

    reply = await running.get("/pypi/latest/simple/HELLO")

    assert reply.status == 200
    assert "Location" not in reply.headers


async def test_links_of_a_redirected_page_lead_to_the_right_place(package_manager, proxy):
    server = await package_manager(links="relative")
    running = await proxy(server)
    page = b'<!DOCTYPE html><a href="../../packages/x/hello-1.0.tar.gz">x</a>'
    server.add_fault("/deep/down/simple/hello/", Status(200, None, page, (("Content-Type", "text/html"),)))
    server.add_fault("/pypi/latest/simple/hello/", RedirectTo("/deep/down/simple/hello/"))

    reply = await running.get(PAGE)

    assert b'href="/deep/down/packages/x/hello-1.0.tar.gz"' in reply.body


async def test_redirects_without_end_are_an_error(package_manager, proxy):
    server = await package_manager()
    server.add_fault("*", RedirectLoop())
    running = await proxy(server)

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert reply.code == "upstream-unexpected"
    assert "redirects more than" in reply.json()["detail"]
    assert len(server.requests) == 11


async def test_a_user_in_a_redirect_is_not_sent_as_a_credential(package_manager, proxy):
    server, other = await package_manager(), await package_manager()
    of_other = other.url.replace("https://", "https://user:password@")
    of_itself = server.url.replace("https://", "https://user:password@")
    server.add_fault("/x", RedirectTo(f"{of_other}/x"))
    server.add_fault("/y", RedirectTo(f"{of_itself}/z"))
    other.add_fault("*", Status(200))
    server.add_fault("/z", Status(200))
    running = await proxy(server)

    await running.get("/x")
    await running.get("/y")

    assert other.requests[-1].authorization is None
    assert server.requests[-1].path == "/z"
    assert server.requests[-1].authorization == f"Bearer {server.token}"


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("http://127.0.0.1:9/x", "from https to plain http"),
        ("ftp://127.0.0.1/x", "an address that is not http"),
        ("file:///etc/passwd", "an address that is not http"),
        ("https://", ""),
        ("https://[::1", "an address that is not http"),
        ("https://127.0.0.1:99999/x", "an address that is not http"),
        ("https://user:password@127.0.0.1:1/x", ""),
        ("//", ""),
        ("https://a\tb/x", "an address that is not http"),
    ],
)
@pytest.mark.usefixtures("short_retries")
async def test_a_redirect_that_must_not_be_followed_is_an_error(package_manager, proxy, location, why):
    server = await package_manager()
    server.add_fault("*", RedirectTo(location))
    running = await proxy(server)

    reply = await running.get("/x")

    assert reply.status == 424
    assert why in reply.json()["detail"]


async def test_plain_http_may_redirect_to_https(package_manager, proxy):
    server = await package_manager(tls=False)
    file = server.add(wheel("hello"))
    storage = await package_manager(refuses_authorization=True, catalog=server.catalog)
    server.files_redirect_to = storage.origin
    running = await proxy(server)

    reply = await running.get(f"/pypi/latest/packages/{file.id}/{file.filename}")

    assert (reply.status, reply.body) == (200, file.data)


async def test_a_redirect_without_a_location_passes(package_manager, proxy):
    server = await package_manager()
    server.add_fault("*", Status(300, "Multiple Choices", b"choose"))
    running = await proxy(server)

    reply = await running.get("/x")

    assert (reply.status, reply.body) == (300, b"choose")


async def test_redirects_keep_the_connection(package_manager, proxy):
    server = await package_manager()
    server.add(wheel("hello"))
    running = await proxy(server)

    for _ in range(3):
        await running.get("/pypi/latest/simple/Hello")

    assert len(server.requests) == 6
    assert len({seen.connection for seen in server.requests}) == 1


async def test_answers_keep_the_connection(package_manager, proxy):
    server = await package_manager()
    server.add(wheel("hello"))
    running = await proxy(server)

    for path in [PAGE, "/pypi/latest/simple/missing/", "/x", PAGE]:
        await running.get(path)

    assert len({seen.connection for seen in server.requests}) == 1


# --- what is sent ---


@pytest.mark.parametrize("target", ["/x.whl?", "/?", "/x.whl", "/x.whl?a=%7E&b", "/a+b/%2B/~/%7e", "/x?a?"])
async def test_a_target_is_sent_as_it_came(package_manager, client, target):
    server = await package_manager(base_path="/rspm")
    server.add_fault("*", Status(200))

    await status_of(client(server), server, path=target)

    assert server.requests[-1].target == f"/rspm{target}"


# --- retries ---


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self):
        self.now = 1000.0
        self._event = None

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.now += seconds
        if self._event is not None and self.now >= self._event[0]:
            (_, happen), self._event = self._event, None
            await happen()
        await asyncio.sleep(0)

    def at(self, moment, happen):
        self._event = moment, happen


@pytest.fixture
async def client(upstream):
    """Makes clients with a clock of their own: `client(server)`; `client.clock` is the last one's."""
    clients = []

    def made(server, **options):
        made.clock = Clock()
        wall = options.pop("wall", made.clock)
        clients.append(UpstreamClient(upstream(server, **options), sleep=made.clock.sleep, clock=made.clock, wall=wall))
        return clients[-1]

    yield made
    for one in clients:
        await one.close()


async def status_of(client, server, method="GET", path="/x", deadline=None):
    headers = [("Authorization", f"Bearer {server.token}")]
    async with client.send(UpstreamRequest(method, server.url + path, headers), deadline) as response:
        async for _ in response.chunks():
            pass
        return response.status


BUSY = Status(503, headers=(("Retry-After", "1"),))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("fault", "times"),
    [
        (Status(500), 1),
        (Status(502), 3),
        (Status(504), 2),
        (BUSY, 3),
        (Status(429, headers=(("Retry-After", "3"),)), 2),
        (CloseBeforeHead(), 3),
        (CloseBeforeHead(reset=True), 2),
    ],
)
async def test_a_fault_that_passes_is_not_seen(package_manager, client, fault, times, method):
    server = await package_manager()
    server.add(wheel("hello"))
    server.add_fault("*", fault, times=times)

    assert await status_of(client(server), server, method, PAGE) == 200
    assert len(server.requests) == times + 1
    assert client.clock.now - 1000 <= 10


@pytest.mark.parametrize("deadline", [None, 1000 + 3600])
@pytest.mark.parametrize("status", [500, 503, 504])
async def test_a_server_error_that_lasts_costs_four_attempts_within_ten_seconds(
    package_manager, client, status, deadline
):
    server = await package_manager()
    server.add_fault("*", Status(status, headers=(("Retry-After", "3600"),)))

    assert await status_of(client(server), server, deadline=deadline) == status
    assert len(server.requests) == 4
    assert 7 < client.clock.now - 1000 <= 10


@pytest.mark.parametrize("fault", [CloseBeforeHead(), CloseBeforeHead(reset=True)])
async def test_a_connection_that_is_closed_before_every_head_costs_four_attempts(package_manager, client, fault):
    server = await package_manager()
    server.add_fault("*", fault)

    with pytest.raises(UpstreamUnreachableError):
        await status_of(client(server), server)

    assert len(server.requests) == 4


@pytest.mark.parametrize(
    "fault", [Status(501), Status(505), Status(404), Status(429), Status(429, headers=(("Retry-After", "60"),))]
)
async def test_a_response_that_lasts_is_the_answer_at_once(package_manager, client, fault):
    server = await package_manager()
    server.add_fault("*", fault)

    assert await status_of(client(server), server) == fault.code
    assert len(server.requests) == 1


async def test_a_deadline_that_is_over_allows_one_attempt(package_manager, client):
    server = await package_manager()
    server.add_fault("*", Status(503))

    assert await status_of(client(server), server, deadline=NO_RETRIES) == 503
    assert len(server.requests) == 1


async def test_a_restart_of_seven_seconds_is_not_seen(package_manager, client, unused_tcp_port):
    server = await package_manager(port=unused_tcp_port)
    server.add(wheel("hello"))
    one = client(server)
    await server.close()
    client.clock.at(1007, server.start)

    statuses = await asyncio.gather(*(status_of(one, server, path=PAGE) for _ in range(20)))

    assert statuses == [200] * 20
    assert len(server.requests) == 20


async def test_a_server_that_stays_down_is_reported_after_ten_seconds_and_then_at_once(
    package_manager, client, unused_tcp_port
):
    server = await package_manager(port=unused_tcp_port)
    one = client(server)
    await server.close()

    for expected in (10, 0):
        began = client.clock.now
        with pytest.raises(UpstreamUnreachableError, match="refused"):
            await status_of(one, server)
        assert client.clock.now - began == pytest.approx(expected)


@pytest.mark.parametrize(
    "trouble",
    [Status(502), Status(503), Status(504), Status(500), CloseBeforeHead(), CloseBeforeHead(reset=True, after=10)],
)
async def test_an_upload_is_never_sent_twice(package_manager, proxy, trouble):
    server = await package_manager(scopes=("sources:write:*",))
    server.add_fault("*", trouble)
    running = await proxy(server, uploads=True)

    reply = await running.ask("POST", "/upload/pypi/internal", data=b"x" * 1000)

    assert reply.status == 424
    assert len(server.requests) == 1


@pytest.mark.parametrize("location", ["/elsewhere", "https://127.0.0.1:1/x"])
async def test_an_upload_is_not_redirected(package_manager, proxy, location):
    server = await package_manager(scopes=("sources:write:*",))
    server.add_fault("/upload/*", RedirectTo(location, 307))
    running = await proxy(server, uploads=True)

    reply = await running.ask("POST", "/upload/pypi/internal", data=b"x")

    assert (reply.status, reply.code) == (424, "upstream-unexpected")
    assert len(server.requests) == 1


async def test_an_upload_is_offered_in_one_scheme_only(package_manager, proxy):
    server = await package_manager()
    running = await proxy(server, uploads=True)

    await running.ask("POST", "/upload/pypi/internal", data=b"x")

    assert [seen.authorization.split()[0] for seen in server.requests] == ["Basic"]
