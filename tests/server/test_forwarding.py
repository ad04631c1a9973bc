"""Claims about forwarding: a plain client gets its response from every supported kind of Package Manager."""

import gzip
import io
import json
import re
from dataclasses import replace

import pytest
from proxy_client import JSON, PIP, leaked_forms, request_head
from yarl import URL

from ppmproxy.auth.origin import Origin
from ppmproxy.config.model import ApiAccess
from ppmproxy.testing.package_manager import Accepts, Distribution, LinkStyle, RedirectTo, RPackage, Status, wheel

PAGE = "/pypi/latest/simple/hello/"


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


# --- every shape of server ---


@pytest.mark.parametrize("accept", [JSON, "text/html"], ids=["json", "html"])
@pytest.mark.parametrize("links", LinkStyle)
@pytest.mark.parametrize("accepts", Accepts)
@pytest.mark.parametrize("base_path", ["", "/rspm"], ids=["at-the-root", "below-a-path"])
async def test_a_file_is_reached_by_the_links_of_its_page(package_manager, proxy, base_path, accepts, links, accept):
    server = await package_manager(base_path=base_path, accepts=accepts, links=links)
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


@pytest.mark.parametrize("project", ["simple", "is-simple"])
async def test_a_project_whose_name_ends_like_the_list_of_projects_has_local_links_in_json_too(
    package_manager, proxy, project
):
    server = await package_manager(links=LinkStyle.ABSOLUTE)
    server.add(wheel(project))
    running = await proxy(server)

    page = await running.get(f"/pypi/latest/simple/{project}/", {"Accept": JSON})

    assert [link.partition("/latest/")[0] for link in links_of(page)] == ["/pypi"]


@pytest.mark.parametrize("accepts", Accepts)
async def test_an_api_query_and_an_r_package_pass_too(package_manager, proxy, accepts):
    server = await package_manager(accepts=accepts, scopes=("repos:read:*",))
    package = server.add_r(RPackage("hello"))
    running = await proxy(server)

    query = {"repo": "cran", "names": ["hello"]}
    found = await running.ask("POST", "/__api__/filter/packages", data=json.dumps(query))
    tarball = await running.get(f"/cran/latest/src/contrib/{package.filename}")

    assert found.json() == [{"name": "hello", "version": "1.0"}]
    assert tarball.body == package.tarball()


async def test_two_upstreams_do_not_meet(package_manager, upstream, proxy):
    one, two = await package_manager(base_path="/rspm"), await package_manager(links=LinkStyle.ABSOLUTE)
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


async def test_a_mount_is_not_a_prefix_of_its_neighbour(package_manager, upstream, proxy):
    one, two = await package_manager(), await package_manager()
    running = await proxy(
        upstream(one, name="one", mount="/a"), upstream(two, name="two", mount="/ab"), environ={"PPMPROXY_TOKEN": "x"}
    )

    await running.get("/ab/pypi/latest/simple/")
    outside = await running.get("/abc/pypi/latest/simple/")

    assert one.requests == []
    assert two.requests[0].path == "/pypi/latest/simple/"
    assert (outside.status, outside.code) == (403, "not-forwarded")


# --- where the token goes ---


@pytest.mark.parametrize("base_path", ["", "/rspm"])
async def test_a_file_redirected_to_another_origin_comes_without_the_token(package_manager, proxy, base_path):
    server = await package_manager(base_path=base_path)
    file = server.add(wheel("hello"))
    storage = await package_manager(base_path=base_path, refuses_authorization=True, catalog=server.catalog)
    server.files_redirect_to = storage.origin
    running = await proxy(server)

    reply = await running.get(f"/pypi/latest/packages/{file.id}/{file.filename}", {"User-Agent": PIP})

    assert (reply.status, reply.body) == (200, file.data)
    assert [seen.authorization for seen in storage.requests] == [None]
    assert storage.requests[0].target.endswith("?X-Amz-Expires=60&X-Amz-Signature=ab%2Fcd%7Eef%2B=")
    assert all(seen.authorization for seen in server.requests)
    assert leaked_forms(server.token, str([seen.headers for seen in storage.requests])) == []


async def test_a_redirect_out_of_the_base_path_comes_without_the_token(package_manager, proxy):
    server = await package_manager(base_path="/rspm")
    server.add_fault("/rspm/a", RedirectTo("/rspm2/b"))
    running = await proxy(server)

    await running.get("/a")

    assert {seen.path for seen in server.requests if seen.authorization} == {"/rspm/a"}
    assert {seen.path for seen in server.requests if not seen.authorization} == {"/rspm2/b"}


async def test_a_redirect_that_comes_back_carries_the_token_again(package_manager, proxy):
    server = await package_manager(base_path="/rspm")
    server.add(wheel("hello"))
    other = await package_manager(refuses_authorization=True)
    other.add_fault("/b", RedirectTo(server.index_url() + "hello/"))
    server.add_fault("/rspm/a", RedirectTo(other.origin + "/b"))
    running = await proxy(server)

    reply = await running.get("/a")

    assert reply.status == 200
    assert other.requests[0].authorization is None
    assert server.requests[-1].authorization is not None


async def test_configured_headers_go_to_the_upstream_alone(package_manager, proxy):
    server = await package_manager()
    file = server.add(wheel("hello"))
    storage = await package_manager(refuses_authorization=True, catalog=server.catalog)
    server.files_redirect_to = storage.origin
    running = await proxy(server, headers=(("X-Ingress", "let me in"),))

    await running.get(f"/pypi/latest/packages/{file.id}/{file.filename}")

    assert {seen.header("X-Ingress") for seen in server.requests} == {"let me in"}
    assert {seen.header("X-Ingress") for seen in storage.requests} == {None}


async def test_a_file_host_is_asked_through_the_proxy_without_the_token(package_manager, proxy):
    server = await package_manager()
    files = await package_manager(refuses_authorization=True)
    file = files.add(wheel("hello"))
    server.add(replace(file, href=files.file_url(file)))
    running = await proxy(server, file_hosts=(Origin.of(files.origin),))

    [link] = links_of(await running.get(PAGE))
    reply = await running.get(link)

    assert link.startswith("/-/files/default/127.0.0.1:")
    assert (reply.status, reply.body) == (200, file.data)
    assert [seen.authorization for seen in files.requests] == [None]


async def test_a_link_to_a_host_outside_the_settings_is_unchanged(package_manager, proxy):
    server = await package_manager()
    server.add(replace(wheel("hello"), href="https://elsewhere.example/hello-1.0-py3-none-any.whl?sig=a%2Fb%7E"))
    running = await proxy(server)

    page = await running.get(PAGE)

    assert links_of(page) == ["https://elsewhere.example/hello-1.0-py3-none-any.whl?sig=a%2Fb%7E"]
    assert (await running.get("/-/files/default/elsewhere.example/x.whl")).code == "not-forwarded"


async def test_user_information_in_a_link_is_dropped_with_the_host(package_manager, proxy):
    server = await package_manager()
    place = server.origin.replace("https://", f"https://__token__:{server.token}@")
    server.add(replace(wheel("hello"), href=f"{place}/pypi/latest/packages/x/hello-1.0-py3-none-any.whl"))
    running = await proxy(server)

    page = await running.get(PAGE)

    assert links_of(page) == ["/pypi/latest/packages/x/hello-1.0-py3-none-any.whl"]
    assert leaked_forms(server.token, page.text()) == []


# --- what is forwarded at all ---


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
async def test_paths_that_are_not_forwarded_never_reach_the_upstream(
    package_manager, proxy, method, path, status, code
):
    server = await package_manager(scopes=("global:admin:*", "repos:read:*", "sources:write:*"))
    running = await proxy(server)

    reply = await running.ask(method, path)

    assert (reply.status, reply.code) == (status, code)
    assert server.requests == []


@pytest.mark.parametrize("path", ["/__api__/status", "/__api__/repos", "/__api__/repos/pypi"])
async def test_the_read_only_api_is_forwarded(package_manager, proxy, path):
    server = await package_manager()
    running = await proxy(server)

    reply = await running.get(path)

    assert (reply.status, reply.headers["Content-Type"].partition(";")[0]) == (200, "application/json")


async def test_no_api_where_the_settings_say_none(package_manager, proxy):
    server = await package_manager()
    running = await proxy(server, api=ApiAccess.NONE)

    assert (await running.get("/__api__/status")).code == "not-forwarded"


@pytest.mark.parametrize("path", ["/__api__/status", "/upload/pypi/internal", PAGE])
async def test_the_body_of_a_get_does_not_reach_the_upstream(package_manager, proxy, path):
    # Its length without its bytes would make the upstream take the next request for them.
    server = await package_manager()
    server.add(wheel("hello"))
    running = await proxy(server, uploads=True)

    await running.raw(
        request_head(path, "Content-Length: 40") + b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"[:40]
    )
    await running.get(PAGE)

    assert {seen.header("Content-Length") for seen in server.requests} == {None}
    assert {seen.path for seen in server.requests} == {path, PAGE}


async def test_an_api_query_that_is_too_large_is_refused(package_manager, proxy):
    server = await package_manager()
    running = await proxy(server)

    reply = await running.ask("POST", "/__api__/filter/packages", data=io.BytesIO(b"x" * (1 << 20) + b"y"))

    assert reply.status == 413
    assert server.requests == []


async def test_large_pages_of_links_are_whole(package_manager, proxy):
    server = await package_manager(links=LinkStyle.ABSOLUTE)
    for number in range(3000):
        server.add(Distribution(f"hello-{number}.tar.gz", b"x", hashed=False))
    running = await proxy(server)

    page = await running.get(PAGE, {"Accept": JSON})

    assert len(links_of(page)) == 3000
    assert all(link.startswith("/pypi/latest/packages/") for link in links_of(page))


@pytest.mark.parametrize("size", [0, 50_000])
async def test_a_refused_upload_keeps_its_status_and_body_and_says_why_in_the_reason_phrase(
    package_manager, proxy, size
):
    body = b"hello exists already " + b"." * size
    server = await package_manager(scopes=("sources:write",))
    server.add_fault("*/upload/*", Status(409, body=body, headers=(("Content-Type", "text/plain"),)))
    running = await proxy(server, uploads=True)

    reply = await running.ask("POST", "/upload/pypi/internal", data=b"x")

    assert (reply.status, reply.body) == (409, body)
    assert reply.reason.startswith("Conflict: hello exists already")
    assert len(reply.reason) < 1000
