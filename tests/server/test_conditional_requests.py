"""Claims about parts of files, and about copies that clients have."""

import pytest
from proxy_client import request_head

from ppmproxy.testing.package_manager import LinkStyle, wheel

PAGE = "/pypi/latest/simple/hello/"


@pytest.fixture
async def file_and_proxy(package_manager, proxy):
    server = await package_manager()
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


@pytest.mark.parametrize("links", [LinkStyle.ABSOLUTE, LinkStyle.RELATIVE])
async def test_a_page_the_client_has_is_304_with_its_etag(package_manager, proxy, links):
    server = await package_manager(links=links)
    server.add(wheel("hello"))
    running = await proxy(server)
    etag = (await running.get(PAGE)).headers["ETag"]

    reply = await running.get(PAGE, {"If-None-Match": etag})

    assert (reply.status, reply.headers["ETag"], reply.body) == (304, etag, b"")
    assert reply.headers["Cache-Control"] == "no-cache"


async def test_a_304_says_nothing_of_a_coding_that_the_page_did_not_have_here(package_manager, proxy):
    # Poetry's cache takes the header over and then cannot unpack what never was packed.
    server = await package_manager(links=LinkStyle.ABSOLUTE)
    server.add(wheel("hello"))
    running = await proxy(server)
    page = await running.get(PAGE, {"Accept-Encoding": "gzip"})

    reply = await running.get(PAGE, {"Accept-Encoding": "gzip", "If-None-Match": page.headers["ETag"]})

    assert (page.status, reply.status) == (200, 304)
    assert "Content-Encoding" not in page.headers
    assert "Content-Encoding" not in reply.headers


async def test_head_of_a_file_has_its_length_and_no_body(file_and_proxy):
    file, running, path = file_and_proxy

    received = await running.raw(request_head(path, method="HEAD"))

    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert f"Content-Length: {len(file.data)}".encode() in head
    assert b"Accept-Ranges: bytes" in head
    assert body == b""


async def test_head_of_a_page_has_no_body_and_no_wrong_length(package_manager, proxy):
    server = await package_manager(links=LinkStyle.ABSOLUTE)
    server.add(wheel("hello"))
    running = await proxy(server)

    received = await running.raw(request_head(PAGE, method="HEAD"))

    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"content-length" not in head.lower()
    assert body == b""
    assert {seen.method for seen in server.requests} == {"HEAD"}


async def test_a_page_is_never_asked_for_in_part(package_manager, proxy):
    server = await package_manager()
    server.add(wheel("hello"))
    running = await proxy(server)

    reply = await running.get(PAGE, {"Range": "bytes=0-9", "If-Range": '"x"'})

    assert reply.status == 200
    assert {(seen.header("Range"), seen.header("If-Range")) for seen in server.requests} == {(None, None)}
