"""Claims about what crosses the proxy in each direction, as both ends see it."""

from dataclasses import replace

import pytest
from proxy_client import JSON, UV, request_head
from yarl import URL

from ppmproxy.testing.package_manager import LinkStyle, RPackage, Status, wheel

PAGE = "/pypi/latest/simple/hello/"
DROPPED_BY_THE_PROXY = {
    "Cookie": "session=1",
    "Authorization": "Basic eDp5",
    "Proxy-Authorization": "Basic eDp5",
    "Forwarded": "host=evil.example",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-For": "192.0.2.1",
    "X-Real-IP": "192.0.2.1",
    "Referer": "http://localhost/secret",
    "X-Anything": "else",
    "TE": "trailers",
}


# --- what crosses to the upstream ---


@pytest.mark.parametrize("path", [PAGE, "/pypi/latest/packages/x/a.whl", "/cran/latest/src/contrib/PACKAGES"])
async def test_only_listed_headers_cross(package_manager, proxy, path):
    server = await package_manager()
    server.add(wheel("hello"))
    running = await proxy(server)

    await running.get(path, {**DROPPED_BY_THE_PROXY, "User-Agent": UV, "Accept": "*/*", "Accept-Encoding": "gzip"})

    crossed = {name.lower() for seen in server.requests for name, _ in seen.headers}
    assert crossed <= {"host", "user-agent", "accept", "accept-encoding", "authorization"}
    assert {seen.header("User-Agent") for seen in server.requests} == {UV}
    assert {seen.header("Host") for seen in server.requests} == {URL(server.origin).authority}


async def test_the_clients_own_authorization_never_crosses(package_manager, proxy):
    server = await package_manager(open_repos=("pypi",))
    server.add(wheel("hello"))
    running = await proxy(server, environ={})

    reply = await running.get(PAGE, {"Authorization": "Bearer mine", "Cookie": "a=b"})

    assert reply.status == 200
    assert server.requests[0].authorization is None
    assert server.requests[0].header("Cookie") is None


async def test_no_user_agent_stays_none(package_manager, proxy):
    server = await package_manager()
    running = await proxy(server)

    await running.get(PAGE)

    assert {seen.header("User-Agent") for seen in server.requests} == {None}
    assert {seen.header("Accept") for seen in server.requests} == {None}


@pytest.mark.parametrize(
    ("path", "asked", "sent"),
    [
        (PAGE, "gzip, deflate, zstd", "gzip, deflate"),
        (PAGE, "br, zstd", "identity"),
        (PAGE, None, "identity"),
        ("/pypi/latest/packages/x/a.whl", "gzip, deflate", "identity"),
        ("/cran/latest/src/contrib/PACKAGES", "gzip, br", "gzip,br"),
    ],
)
async def test_only_codings_that_are_understood_are_asked_for(package_manager, proxy, path, asked, sent):
    server = await package_manager()
    running = await proxy(server)

    await running.get(path, {"Accept-Encoding": asked} if asked else None)

    assert {seen.header("Accept-Encoding").replace(", ", ",") for seen in server.requests} == {sent.replace(", ", ",")}


async def test_cookies_of_the_upstream_go_neither_way(package_manager, proxy):
    server = await package_manager()
    server.add(wheel("hello"))
    running = await proxy(server)

    replies = [await running.get(PAGE) for _ in range(2)]

    assert [reply.headers.get("Set-Cookie") for reply in replies] == [None, None]
    assert {seen.header("Cookie") for seen in server.requests} == {None}


@pytest.mark.parametrize(
    ("target", "reaches"),
    [
        ("/pypi/latest/packages/x/a%2Bb~%7E.whl?X=%2F%7e+b==&", "/pypi/latest/packages/x/a%2Bb~%7E.whl?X=%2F%7e+b==&"),
        ("/pypi//latest///simple//", "/pypi/latest/simple/"),
        ("//evil.example/x", "/evil.example/x"),
        ("/a;b=c,d/@e:f!$&'()*+=", "/a;b=c,d/@e:f!$&'()*+="),
        ("/caf%C3%A9/%E2%82%AC", "/caf%C3%A9/%E2%82%AC"),
        ("/x?url=http://evil.example/../", "/x?url=http://evil.example/../"),
        ("/", "/"),
        ("", "/"),
    ],
)
async def test_every_byte_of_a_target_goes_upstream_as_it_came(package_manager, proxy, target, reaches):
    server = await package_manager(base_path="/rspm")
    running = await proxy(server)

    await running.raw(request_head(target or "/"))

    assert {seen.target for seen in server.requests} == {"/rspm" + reaches}


# --- what comes back ---


async def test_headers_of_the_upstream_s_host_or_connection_are_not_sent_to_the_client(package_manager, proxy):
    server = await package_manager()
    own = (
        ("WWW-Authenticate", "Basic"),
        ("Strict-Transport-Security", "max-age=1"),
        ("Alt-Svc", 'h3=":443"'),
        ("Connection", "X-Mine"),
        ("X-Mine", "for one hop"),
        ("Keep-Alive", "timeout=5"),
        ("X-Package-Binary-Tag", "4.3-jammy"),
    )
    server.add_fault("*", Status(200, "Fine Enough", b"body", own))
    running = await proxy(server)

    reply = await running.get("/cran/latest/src/contrib/PACKAGES")

    gone = {"www-authenticate", "strict-transport-security", "alt-svc", "x-mine", "keep-alive", "set-cookie"}
    assert gone.isdisjoint({name.lower() for name in reply.headers})
    assert reply.headers["X-Package-Binary-Tag"] == "4.3-jammy"
    assert (reply.status, reply.reason, reply.body) == (200, "Fine Enough", b"body")


@pytest.mark.parametrize(("given", "passed"), [("600", "10"), ("3", "3"), ("Wed, 21 Oct 2099 07:28:00 GMT", "10")])
async def test_retry_after_is_limited_on_the_wire(package_manager, proxy, given, passed):
    server = await package_manager()
    server.add_fault("*", Status(429, body=b"slow down", headers=(("Retry-After", given),)))
    running = await proxy(server, read_timeout=2.5)  # shorter than any Retry-After: it is not waited for here

    reply = await running.get(PAGE)

    assert (reply.status, reply.headers["Retry-After"]) == (429, passed)


@pytest.mark.parametrize("status", [404, 410, 416, 400, 406, 409])
@pytest.mark.parametrize("path", [PAGE, "/pypi/latest/packages/x/a.whl"])
async def test_the_upstreams_own_no_passes(package_manager, proxy, path, status):
    server = await package_manager()
    server.add_fault("*", Status(status, "As Told", b"there is no such thing"))
    running = await proxy(server)

    reply = await running.get(path)

    assert (reply.status, reply.reason, reply.body) == (status, "As Told", b"there is no such thing")
    assert reply.code is None


@pytest.mark.parametrize(
    ("given", "passed"), [(None, "no-cache"), ("max-age=600", "max-age=600"), ("no-store", "no-store")]
)
async def test_a_page_without_cache_control_gets_one(package_manager, proxy, given, passed):
    server = await package_manager(page_cache_control=given)
    server.add(wheel("hello"))
    running = await proxy(server)

    reply = await running.get(PAGE)

    assert reply.headers.getall("Cache-Control") == [passed]


async def test_a_files_cache_control_passes(package_manager, proxy):
    server = await package_manager(file_cache_control="max-age=31536000, immutable")
    file = server.add(wheel("hello"))
    running = await proxy(server)

    reply = await running.get(f"/pypi/latest/packages/{file.id}/{file.filename}")

    assert reply.headers["Cache-Control"] == "max-age=31536000, immutable"


async def test_metadata_beside_a_file_comes_as_it_is(package_manager, proxy):
    server = await package_manager()
    file = server.add(wheel("hello"))
    running = await proxy(server)

    reply = await running.get(f"/pypi/latest/packages/{file.id}/{file.filename}.metadata")

    assert (reply.status, reply.body) == (200, file.metadata)


async def test_unknown_keys_of_a_page_survive(package_manager, proxy):
    server = await package_manager(links=LinkStyle.ABSOLUTE)
    server.add(replace(wheel("hello"), extra={"x-future": "caf\u00e9 <&>", "gpg-sig": "x"}))
    running = await proxy(server)

    page = (await running.get(PAGE, {"Accept": JSON})).json()

    assert page["meta"] == {"api-version": "1.1"}
    assert page["files"][0]["x-future"] == "caf\u00e9 <&>"


async def test_the_binary_for_a_user_agent_comes_back_with_its_headers(package_manager, proxy):
    server = await package_manager()
    package = server.add_r(RPackage("hello"))
    running = await proxy(server)

    reply = await running.get(
        f"/cran/__linux__/jammy/latest/src/contrib/{package.filename}",
        {"User-Agent": "R (4.3.1 x86_64-pc-linux-gnu x86_64 linux-gnu)"},
    )

    assert reply.headers["X-Package-Type"] == "binary"
    assert reply.headers["X-Package-Binary-Tag"] == "4.3-jammy"
    assert reply.body == package.tarball("4.3")


async def test_a_client_of_http_1_0_gets_no_chunks(package_manager, proxy):
    server = await package_manager(generated_projects=5000, links=LinkStyle.ABSOLUTE)
    running = await proxy(server)

    received = await running.raw(b"GET /pypi/latest/simple/ HTTP/1.0\r\nHost: localhost\r\nAccept: text/html\r\n\r\n")

    head, _, body = received.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert body.startswith(b"<!DOCTYPE html>")
    assert body.endswith(b"</html>\n")
