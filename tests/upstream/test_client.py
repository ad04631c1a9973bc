"""Claims about `upstream`: redirects are followed inside, reads are tried again, connections are kept."""

import itertools

import pytest
from proxy_client import UV

from ppmproxy.testing.package_manager import CloseBeforeHead, RedirectLoop, RedirectTo, Status, wheel
from ppmproxy.upstream.client import UpstreamClient
from ppmproxy.upstream.messages import UpstreamRequest

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
    assert "redirects in circles" in reply.json()["detail"]
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
        ("ftp://127.0.0.1/x", "no http address"),
        ("file:///etc/passwd", "no http address"),
        ("https://", ""),
        ("https://[::1", "no http address"),
        ("https://127.0.0.1:99999/x", "no http address"),
        ("https://user:password@127.0.0.1:1/x", ""),
        ("//", ""),
        ("https://a\tb/x", "no http address"),
    ],
)
async def test_a_redirect_that_must_not_be_followed_is_an_error(package_manager, proxy, location, why):
    server = await package_manager()
    server.add_fault("*", RedirectTo(location))
    running = await proxy(server)

    reply = await running.get("/x")

    assert reply.status == 502
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


# --- retries ---


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "trouble", [Status(502), Status(503), Status(504), CloseBeforeHead(), CloseBeforeHead(reset=True)]
)
async def test_a_read_is_tried_again(package_manager, proxy, trouble, method):
    server = await package_manager()
    server.add(wheel("hello"))
    running = await proxy(server)
    server.add_fault("*", trouble, times=1)

    reply = await running.ask(method, PAGE)

    assert reply.status == 200
    assert len(server.requests) == 2


async def test_a_read_is_tried_three_times_at_most(package_manager, proxy):
    server = await package_manager()
    server.add_fault("*", Status(503, "Busy", b"come back", (("Retry-After", "3600"),)))
    running = await proxy(server)

    reply = await running.get("/x")

    assert (reply.status, reply.code) == (502, "upstream-unexpected")
    assert "503 Busy" in reply.json()["detail"]
    assert "Retry-After" not in reply.headers
    assert len(server.requests) == 3


async def test_what_took_its_time_to_fail_is_not_tried_again(package_manager, upstream):
    server = await package_manager()
    server.add_fault("*", Status(503))
    client = UpstreamClient(upstream(server), clock=itertools.count(step=3).__next__)  # each look at it is 3 s later

    async with client.send(UpstreamRequest("GET", f"{server.url}/x", [])) as received:
        assert received.status == 503
    await client.close()

    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [500, 501, 505])
async def test_other_troubles_of_the_server_are_not_tried_again(package_manager, proxy, status):
    server = await package_manager()
    server.add_fault("*", Status(status))
    running = await proxy(server)

    reply = await running.get("/x")

    assert reply.status == 502
    assert len(server.requests) == 1


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
