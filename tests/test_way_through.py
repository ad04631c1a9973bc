"""Claims about the way through: whatever the Package Manager's shape, a plain client gets what it asked for."""

import gzip
import io
import json
import re
from dataclasses import replace

import pytest
from harness import JSON, PIP, UV, leaked, request_head
from yarl import URL

from ppmproxy.origin import Origin
from ppmproxy.settings import ApiAccess
from ppmproxy.stand_in import Accepts, Distribution, Links, RedirectTo, RPackage, Status, wheel

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


def links_of(reply):
    """Where the links of a page lead, fragments left out."""
    if "json" in reply.headers["Content-Type"]:
        return [file["url"] for file in reply.json()["files"]]
    return [link.partition("#")[0] for link in re.findall(r'<a href="([^"]*)"', reply.text())]


def followed(page, link):
    """Where a client ends up, by RFC 3986, when it follows a link of a page."""
    url = URL(f"http://localhost{page}", encoded=True).join(URL(link, encoded=True))
    assert url.host == "localhost"
    return url.raw_path_qs


# --- every shape of server ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", [JSON, "text/html"], ids=["json", "html"])
@pytest.mark.parametrize("links", Links)
@pytest.mark.parametrize("accepts", Accepts)
@pytest.mark.parametrize("base_path", ["", "/rspm"], ids=["at-the-root", "below-a-path"])
async def test_a_file_is_reached_by_the_links_of_its_page(stand_in, proxy, base_path, accepts, links, accept):
    server = await stand_in(base_path=base_path, accepts=accepts, links=links)
    file = server.add(wheel("hello"))
    running = await proxy(server)

    page = await running.get(PAGE, {"Accept": accept, "Accept-Encoding": "gzip"})
    unpacked = replace(page, body=gzip.decompress(page.body)) if "Content-Encoding" in page.headers else page
    [link] = links_of(unpacked)
    reply = await running.get(followed(PAGE, link))

    assert (page.status, reply.status) == (200, 200)
    assert reply.body == file.data
    assert int(reply.headers["Content-Length"]) == len(file.data)
    assert all(seen.authorization for seen in server.requests)


@pytest.mark.parametrize("accepts", Accepts)
async def test_an_api_query_and_an_r_package_pass_too(stand_in, proxy, accepts):
    server = await stand_in(accepts=accepts, scopes=("repos:read:*",))
    package = server.add_r(RPackage("hello"))
    running = await proxy(server)

    query = {"repo": "cran", "names": ["hello"]}
    found = await running.ask("POST", "/__api__/filter/packages", data=json.dumps(query))
    tarball = await running.get(f"/cran/latest/src/contrib/{package.filename}")

    assert found.json() == [{"name": "hello", "version": "1.0"}]
    assert tarball.body == package.tarball()


async def test_two_upstreams_do_not_meet(stand_in, upstream, proxy):
    one, two = await stand_in(base_path="/rspm"), await stand_in(links=Links.ABSOLUTE)
    one.add(wheel("hello"))
    file = two.add(wheel("hello", "2.0"))
    running = await proxy(
        upstream(one, name="one"),
        upstream(two, name="two", mount="/two"),
        environ={"PPMPROXY_TOKEN": one.token},
    )
    two.accept_token(one.token)

    first = await running.get(PAGE)
    second = await running.get("/two" + PAGE)
    [link] = links_of(second)
    reply = await running.get(followed("/two" + PAGE, link))

    assert "hello-1.0" in first.text()
    assert link.startswith("/two/pypi/")
    assert reply.body == file.data
    assert [seen.path for seen in one.requests] == ["/rspm" + PAGE]


async def test_a_mount_is_not_a_prefix_of_its_neighbour(stand_in, upstream, proxy):
    one, two = await stand_in(), await stand_in()
    running = await proxy(
        upstream(one, name="one", mount="/a"), upstream(two, name="two", mount="/ab"), environ={"PPMPROXY_TOKEN": "x"}
    )

    await running.get("/ab/pypi/latest/simple/")
    outside = await running.get("/abc/pypi/latest/simple/")

    assert one.requests == []
    assert two.requests[0].path == "/pypi/latest/simple/"
    assert (outside.status, outside.code) == (404, "not-forwarded")


# --- where the token goes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base_path", ["", "/rspm"])
async def test_a_file_redirected_to_another_origin_comes_without_the_token(stand_in, proxy, base_path):
    server = await stand_in(base_path=base_path)
    file = server.add(wheel("hello"))
    storage = await stand_in(base_path=base_path, refuses_authorization=True, stock=server.stock)
    server.files_redirect_to = storage.origin
    running = await proxy(server)

    reply = await running.get(f"/pypi/latest/packages/{file.id}/{file.filename}", {"User-Agent": PIP})

    assert (reply.status, reply.body) == (200, file.data)
    assert [seen.authorization for seen in storage.requests] == [None]
    assert storage.requests[0].target.endswith("?X-Amz-Expires=60&X-Amz-Signature=ab%2Fcd%7Eef%2B=")
    assert all(seen.authorization for seen in server.requests)
    assert leaked(server.token, str([seen.headers for seen in storage.requests])) == []


async def test_a_redirect_out_of_the_base_path_comes_without_the_token(stand_in, proxy):
    server = await stand_in(base_path="/rspm")
    server.misbehave("/rspm/a", RedirectTo("/rspm2/b"))
    running = await proxy(server)

    await running.get("/a")

    assert {seen.path for seen in server.requests if seen.authorization} == {"/rspm/a"}
    assert {seen.path for seen in server.requests if not seen.authorization} == {"/rspm2/b"}


async def test_a_redirect_that_comes_back_carries_the_token_again(stand_in, proxy):
    server = await stand_in(base_path="/rspm")
    server.add(wheel("hello"))
    other = await stand_in(refuses_authorization=True)
    other.misbehave("/b", RedirectTo(server.index_url() + "hello/"))
    server.misbehave("/rspm/a", RedirectTo(other.origin + "/b"))
    running = await proxy(server)

    reply = await running.get("/a")

    assert reply.status == 200
    assert other.requests[0].authorization is None
    assert server.requests[-1].authorization is not None


async def test_configured_headers_go_to_the_upstream_alone(stand_in, proxy):
    server = await stand_in()
    file = server.add(wheel("hello"))
    storage = await stand_in(refuses_authorization=True, stock=server.stock)
    server.files_redirect_to = storage.origin
    running = await proxy(server, headers=(("X-Ingress", "let me in"),))

    await running.get(f"/pypi/latest/packages/{file.id}/{file.filename}")

    assert {seen.header("X-Ingress") for seen in server.requests} == {"let me in"}
    assert {seen.header("X-Ingress") for seen in storage.requests} == {None}


async def test_a_file_host_is_asked_through_the_proxy_without_the_token(stand_in, proxy):
    server = await stand_in()
    files = await stand_in(refuses_authorization=True)
    file = files.add(wheel("hello"))
    server.add(replace(file, href=files.file_url(file)))
    running = await proxy(server, file_hosts=(Origin.of(files.origin),))

    [link] = links_of(await running.get(PAGE))
    reply = await running.get(link)

    assert link.startswith("/-/files/default/127.0.0.1:")
    assert (reply.status, reply.body) == (200, file.data)
    assert [seen.authorization for seen in files.requests] == [None]


async def test_a_link_to_a_host_nobody_named_stays_as_it_is(stand_in, proxy):
    server = await stand_in()
    server.add(replace(wheel("hello"), href="https://elsewhere.example/hello-1.0-py3-none-any.whl?sig=a%2Fb%7E"))
    running = await proxy(server)

    page = await running.get(PAGE)

    assert links_of(page) == ["https://elsewhere.example/hello-1.0-py3-none-any.whl?sig=a%2Fb%7E"]
    assert (await running.get("/-/files/default/elsewhere.example/x.whl")).code == "not-forwarded"


async def test_user_information_in_a_link_is_dropped_with_the_host(stand_in, proxy):
    server = await stand_in()
    place = server.origin.replace("https://", f"https://__token__:{server.token}@")
    server.add(replace(wheel("hello"), href=f"{place}/pypi/latest/packages/x/hello-1.0-py3-none-any.whl"))
    running = await proxy(server)

    page = await running.get(PAGE)

    assert links_of(page) == ["/pypi/latest/packages/x/hello-1.0-py3-none-any.whl"]
    assert leaked(server.token, page.text()) == []


# --- what crosses to the upstream --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [PAGE, "/pypi/latest/packages/x/a.whl", "/cran/latest/src/contrib/PACKAGES"])
async def test_only_listed_headers_cross(stand_in, proxy, path):
    server = await stand_in()
    server.add(wheel("hello"))
    running = await proxy(server)

    await running.get(path, {**DROPPED_BY_THE_PROXY, "User-Agent": UV, "Accept": "*/*", "Accept-Encoding": "gzip"})

    crossed = {name.lower() for seen in server.requests for name, _ in seen.headers}
    assert crossed <= {"host", "user-agent", "accept", "accept-encoding", "authorization"}
    assert {seen.header("User-Agent") for seen in server.requests} == {UV}
    assert {seen.header("Host") for seen in server.requests} == {URL(server.origin).authority}


async def test_the_clients_own_authorization_never_crosses(stand_in, proxy):
    server = await stand_in(open_repos=("pypi",))
    server.add(wheel("hello"))
    running = await proxy(server, environ={})

    reply = await running.get(PAGE, {"Authorization": "Bearer mine", "Cookie": "a=b"})

    assert reply.status == 200
    assert server.requests[0].authorization is None
    assert server.requests[0].header("Cookie") is None


async def test_no_user_agent_stays_none(stand_in, proxy):
    server = await stand_in()
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
async def test_only_codings_that_are_understood_are_asked_for(stand_in, proxy, path, asked, sent):
    server = await stand_in()
    running = await proxy(server)

    await running.get(path, {"Accept-Encoding": asked} if asked else None)

    assert {seen.header("Accept-Encoding").replace(", ", ",") for seen in server.requests} == {sent.replace(", ", ",")}


async def test_cookies_of_the_upstream_go_neither_way(stand_in, proxy):
    server = await stand_in()
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
async def test_every_byte_of_a_target_goes_upstream_as_it_came(stand_in, proxy, target, reaches):
    server = await stand_in(base_path="/rspm")
    running = await proxy(server)

    await running.raw(request_head(target or "/"))

    assert {seen.target for seen in server.requests} == {"/rspm" + reaches}


# --- what comes back ---------------------------------------------------------------------------------------------------


async def test_what_belongs_to_the_upstreams_host_or_connection_does_not_come_back(stand_in, proxy):
    server = await stand_in()
    own = (
        ("WWW-Authenticate", "Basic"),
        ("Strict-Transport-Security", "max-age=1"),
        ("Alt-Svc", 'h3=":443"'),
        ("Connection", "X-Mine"),
        ("X-Mine", "for one hop"),
        ("Keep-Alive", "timeout=5"),
        ("X-Package-Binary-Tag", "4.3-jammy"),
    )
    server.misbehave("*", Status(200, "Fine Enough", b"body", own))
    running = await proxy(server)

    reply = await running.get("/cran/latest/src/contrib/PACKAGES")

    gone = {"www-authenticate", "strict-transport-security", "alt-svc", "x-mine", "keep-alive", "set-cookie"}
    assert gone.isdisjoint({name.lower() for name in reply.headers})
    assert reply.headers["X-Package-Binary-Tag"] == "4.3-jammy"
    assert (reply.status, reply.reason, reply.body) == (200, "Fine Enough", b"body")


@pytest.mark.parametrize(("given", "passed"), [("600", "10"), ("3", "3"), ("Wed, 21 Oct 2099 07:28:00 GMT", "10")])
async def test_no_client_is_told_to_wait_long(stand_in, proxy, given, passed):
    server = await stand_in()
    server.misbehave("*", Status(429, body=b"slow down", headers=(("Retry-After", given),)))
    running = await proxy(server)

    reply = await running.get(PAGE)

    assert (reply.status, reply.headers["Retry-After"]) == (429, passed)


@pytest.mark.parametrize("status", [404, 410, 416, 400, 406, 409])
@pytest.mark.parametrize("path", [PAGE, "/pypi/latest/packages/x/a.whl"])
async def test_the_upstreams_own_no_passes(stand_in, proxy, path, status):
    server = await stand_in()
    server.misbehave("*", Status(status, "As Told", b"there is no such thing"))
    running = await proxy(server)

    reply = await running.get(path)

    assert (reply.status, reply.reason, reply.body) == (status, "As Told", b"there is no such thing")
    assert reply.code is None


@pytest.mark.parametrize(
    ("given", "passed"), [(None, "no-cache"), ("max-age=600", "max-age=600"), ("no-store", "no-store")]
)
async def test_a_page_without_cache_control_gets_one(stand_in, proxy, given, passed):
    server = await stand_in(page_cache_control=given)
    server.add(wheel("hello"))
    running = await proxy(server)

    reply = await running.get(PAGE)

    assert reply.headers.getall("Cache-Control") == [passed]


async def test_a_files_cache_control_passes(stand_in, proxy):
    server = await stand_in(file_cache_control="max-age=31536000, immutable")
    file = server.add(wheel("hello"))
    running = await proxy(server)

    reply = await running.get(f"/pypi/latest/packages/{file.id}/{file.filename}")

    assert reply.headers["Cache-Control"] == "max-age=31536000, immutable"


async def test_metadata_beside_a_file_comes_as_it_is(stand_in, proxy):
    server = await stand_in()
    file = server.add(wheel("hello"))
    running = await proxy(server)

    reply = await running.get(f"/pypi/latest/packages/{file.id}/{file.filename}.metadata")

    assert (reply.status, reply.body) == (200, file.metadata)


async def test_unknown_keys_of_a_page_survive(stand_in, proxy):
    server = await stand_in(links=Links.ABSOLUTE)
    server.add(replace(wheel("hello"), extra={"x-future": "caf\u00e9 <&>", "gpg-sig": "x"}))
    running = await proxy(server)

    page = (await running.get(PAGE, {"Accept": JSON})).json()

    assert page["meta"] == {"api-version": "1.1"}
    assert page["files"][0]["x-future"] == "caf\u00e9 <&>"


async def test_the_binary_for_a_user_agent_comes_back_with_its_headers(stand_in, proxy):
    server = await stand_in()
    package = server.add_r(RPackage("hello"))
    running = await proxy(server)

    reply = await running.get(
        f"/cran/__linux__/jammy/latest/src/contrib/{package.filename}",
        {"User-Agent": "R (4.3.1 x86_64-pc-linux-gnu x86_64 linux-gnu)"},
    )

    assert reply.headers["X-Package-Type"] == "binary"
    assert reply.headers["X-Package-Binary-Tag"] == "4.3-jammy"
    assert reply.body == package.tarball("4.3")


# --- parts of files and copies that clients have -----------------------------------------------------------------------


@pytest.fixture
async def file_and_proxy(stand_in, proxy):
    server = await stand_in()
    file = server.add(wheel("hello", payload=bytes(range(256)) * 40))
    running = await proxy(server)
    return file, running, f"/pypi/latest/packages/{file.id}/{file.filename}"


@pytest.mark.parametrize(
    ("wanted", "part"),
    [("bytes=0-9", slice(0, 10)), ("bytes=-7", slice(-7, None)), ("bytes=100-", slice(100, None))],
)
async def test_a_part_of_a_file(file_and_proxy, wanted, part):
    file, running, path = file_and_proxy

    reply = await running.get(path, {"Range": wanted})

    assert (reply.status, reply.body) == (206, file.data[part])
    assert reply.headers["Content-Range"].endswith(f"/{len(file.data)}")
    assert int(reply.headers["Content-Length"]) == len(reply.body)


async def test_a_part_beyond_the_end_is_416(file_and_proxy):
    file, running, path = file_and_proxy

    reply = await running.get(path, {"Range": "bytes=99999999-"})

    assert (reply.status, reply.headers["Content-Range"]) == (416, f"bytes */{len(file.data)}")


@pytest.mark.parametrize(("same", "status"), [(True, 206), (False, 200)])
async def test_the_rest_of_a_file_comes_only_if_it_is_still_the_same(file_and_proxy, same, status):
    file, running, path = file_and_proxy
    etag = (await running.get(path)).headers["ETag"]

    reply = await running.get(path, {"Range": "bytes=10-", "If-Range": etag if same else '"another"'})

    assert (reply.status, reply.body) == (status, file.data[10:] if same else file.data)


async def test_a_file_the_client_has_is_304_with_its_etag(file_and_proxy):
    _, running, path = file_and_proxy
    etag = (await running.get(path)).headers["ETag"]

    reply = await running.get(path, {"If-None-Match": etag})

    assert (reply.status, reply.headers["ETag"], reply.body) == (304, etag, b"")


async def test_a_file_not_modified_since_is_304(file_and_proxy):
    _, running, path = file_and_proxy
    modified = (await running.get(path)).headers["Last-Modified"]

    reply = await running.get(path, {"If-Modified-Since": modified})

    assert (reply.status, reply.body) == (304, b"")


@pytest.mark.parametrize("links", [Links.ABSOLUTE, Links.RELATIVE])
async def test_a_page_the_client_has_is_304_with_its_etag(stand_in, proxy, links):
    server = await stand_in(links=links)
    server.add(wheel("hello"))
    running = await proxy(server)
    etag = (await running.get(PAGE)).headers["ETag"]

    reply = await running.get(PAGE, {"If-None-Match": etag})

    assert (reply.status, reply.headers["ETag"], reply.body) == (304, etag, b"")
    assert reply.headers["Cache-Control"] == "no-cache"


async def test_head_of_a_file_has_its_length_and_no_body(file_and_proxy):
    file, running, path = file_and_proxy

    received = await running.raw(request_head(path, method="HEAD"))

    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert f"Content-Length: {len(file.data)}".encode() in head
    assert b"Accept-Ranges: bytes" in head
    assert body == b""


async def test_head_of_a_page_has_no_body_and_no_wrong_length(stand_in, proxy):
    server = await stand_in(links=Links.ABSOLUTE)
    server.add(wheel("hello"))
    running = await proxy(server)

    received = await running.raw(request_head(PAGE, method="HEAD"))

    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"content-length" not in head.lower()
    assert body == b""
    assert {seen.method for seen in server.requests} == {"HEAD"}


async def test_a_page_is_never_asked_for_in_part(stand_in, proxy):
    server = await stand_in()
    server.add(wheel("hello"))
    running = await proxy(server)

    reply = await running.get(PAGE, {"Range": "bytes=0-9", "If-Range": '"x"'})

    assert reply.status == 200
    assert {(seen.header("Range"), seen.header("If-Range")) for seen in server.requests} == {(None, None)}


# --- what is forwarded at all ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("DELETE", "/pypi/latest/simple/hello/", 405, "not-forwarded"),
        ("POST", "/pypi/latest/simple/hello/", 405, "not-forwarded"),
        ("PUT", "/", 405, "not-forwarded"),
        ("PATCH", "/x", 405, "not-forwarded"),
        ("OPTIONS", "/x", 405, "not-forwarded"),
        ("TRACE", "/x", 405, "not-forwarded"),
        ("GET", "/__api__/users", 403, "not-forwarded"),
        ("DELETE", "/__api__/repos/pypi", 403, "not-forwarded"),
        ("POST", "/__api__/repos", 403, "not-forwarded"),
        ("POST", "/__api__/status", 403, "not-forwarded"),
        ("GET", "/%5f%5fapi%5f%5f/status", 403, "not-forwarded"),
        ("GET", "/__API__/users", 403, "not-forwarded"),
        ("POST", "/upload/pypi/internal", 403, "uploads-off"),
        ("PUT", "/upload/pypi/internal", 405, "not-forwarded"),
    ],
)
async def test_what_is_not_forwarded_never_reaches_the_upstream(stand_in, proxy, method, path, status, code):
    server = await stand_in(scopes=("global:admin:*", "repos:read:*", "sources:write:*"))
    running = await proxy(server)

    reply = await running.ask(method, path)

    assert (reply.status, reply.code) == (status, code)
    assert server.requests == []


@pytest.mark.parametrize("path", ["/__api__/status", "/__api__/repos", "/__api__/repos/pypi"])
async def test_the_read_only_api_is_forwarded(stand_in, proxy, path):
    server = await stand_in()
    running = await proxy(server)

    reply = await running.get(path)

    assert (reply.status, reply.headers["Content-Type"].partition(";")[0]) == (200, "application/json")


async def test_no_api_where_the_settings_say_none(stand_in, proxy):
    server = await stand_in()
    running = await proxy(server, api=ApiAccess.NONE)

    assert (await running.get("/__api__/status")).code == "not-forwarded"


@pytest.mark.parametrize("path", ["/__api__/status", "/upload/pypi/internal", PAGE])
async def test_the_body_of_a_get_does_not_reach_the_upstream(stand_in, proxy, path):
    # Its length without its bytes would make the upstream take the next request for them.
    server = await stand_in()
    server.add(wheel("hello"))
    running = await proxy(server, uploads=True)

    await running.raw(request_head(path, "Content-Length: 40") + b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"[:40])
    await running.get(PAGE)

    assert {seen.header("Content-Length") for seen in server.requests} == {None}
    assert {seen.path for seen in server.requests} == {path, PAGE}


async def test_an_api_query_that_is_too_large_is_refused(stand_in, proxy):
    server = await stand_in()
    running = await proxy(server)

    reply = await running.ask("POST", "/__api__/filter/packages", data=io.BytesIO(b"x" * (1 << 20) + b"y"))

    assert reply.status == 413
    assert server.requests == []


async def test_large_pages_of_links_are_whole(stand_in, proxy):
    server = await stand_in(links=Links.ABSOLUTE)
    for number in range(3000):
        server.add(Distribution(f"hello-{number}.tar.gz", b"x", hashed=False))
    running = await proxy(server)

    page = await running.get(PAGE, {"Accept": JSON})

    assert len(links_of(page)) == 3000
    assert all(link.startswith("/pypi/latest/packages/") for link in links_of(page))
