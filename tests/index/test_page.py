"""Claims about index pages: untouched where they can be, rewritten where they must be."""

import gzip
import json
import zlib

import aiohttp
import pytest
from index_pages import page_answer
from proxy_client import JSON, request_head

from ppmproxy.testing.package_manager import LinkStyle, Unsized, wheel

PAGE = "/pypi/latest/simple/hello/"


MIB = 1 << 20


GZIP = {"Accept-Encoding": "gzip, deflate"}


async def direct(server, path, headers):
    """What the fake Package Manager itself answers."""
    connector = aiohttp.TCPConnector(ssl=server.client_context())
    async with (
        aiohttp.ClientSession(connector=connector, auto_decompress=False) as session,
        session.get(server.url + path, headers={"Authorization": f"Bearer {server.token}", **headers}) as response,
    ):
        return response.headers, await response.read()


# --- untouched ---


@pytest.mark.parametrize("links", [LinkStyle.RELATIVE, LinkStyle.ROOT_RELATIVE])
@pytest.mark.parametrize("headers", [GZIP, {"Accept-Encoding": "identity"}])
@pytest.mark.parametrize("accept", [JSON, "text/html"])
async def test_a_page_whose_links_are_right_passes_byte_for_byte(package_manager, proxy, links, headers, accept):
    server = await package_manager(links=links)
    server.add(wheel("hello"))
    running = await proxy(server)
    asked = {**headers, "Accept": accept}

    reply = await running.get(PAGE, asked)
    upstreams, body = await direct(server, PAGE, asked)

    assert reply.body == body
    for name in ("Content-Encoding", "Content-Length", "ETag", "Content-Type", "Vary"):
        assert reply.headers.get(name) == upstreams.get(name)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_what_passes_is_still_compressed(package_manager, proxy, coding):
    server = await package_manager()
    page = b'<!DOCTYPE html><a href="hello-1.0.tar.gz">x</a>'
    body = gzip.compress(page) if coding == "gzip" else zlib.compress(page)
    server.add_fault("*", page_answer(body, "text/html", ("Content-Encoding", coding)))
    running = await proxy(server)

    reply = await running.get(PAGE, GZIP)

    assert (reply.body, reply.headers["Content-Encoding"]) == (body, coding)


async def test_something_that_is_no_page_passes_where_a_page_was(package_manager, proxy):
    server = await package_manager()
    body = bytes(range(256))
    server.add_fault("*", page_answer(body, "application/octet-stream"))
    running = await proxy(server)

    reply = await running.get(PAGE)

    assert (reply.body, reply.headers["Content-Type"]) == (body, "application/octet-stream")


# --- rewritten ---


@pytest.mark.parametrize("headers", [GZIP, {"Accept-Encoding": "identity"}])
@pytest.mark.parametrize("accept", [JSON, "text/html"])
async def test_a_rewritten_page_has_the_right_length_and_no_coding(package_manager, proxy, headers, accept):
    server = await package_manager(links=LinkStyle.ABSOLUTE, base_path="/rspm")
    server.add(wheel("hello"))
    running = await proxy(server)

    reply = await running.get(PAGE, {**headers, "Accept": accept})

    assert reply.headers["Content-Length"] == str(len(reply.body))
    assert "Content-Encoding" not in reply.headers
    assert "Transfer-Encoding" not in reply.headers
    assert reply.headers["ETag"]
    assert server.origin not in reply.text()
    assert "/pypi/latest/packages/" in reply.text()


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate", "raw deflate", "GZIP", "two members"])
async def test_every_coding_asked_for_is_read(package_manager, proxy, coding):
    server = await package_manager()
    page = f'<!DOCTYPE html><a href="{server.origin}/pypi/latest/packages/x/hello-1.0.tar.gz">x</a>'.encode()
    raw = zlib.compressobj(wbits=-15)
    bodies = {
        "deflate": zlib.compress(page),
        "raw deflate": raw.compress(page) + raw.flush(),
        "two members": gzip.compress(page[:20]) + gzip.compress(page[20:]),
    }
    name = {"raw deflate": "deflate", "two members": "gzip"}.get(coding, coding)
    body = bodies.get(coding) or gzip.compress(page)
    server.add_fault("*", page_answer(body, "text/html", ("Content-Encoding", name)))
    running = await proxy(server)

    reply = await running.get(PAGE, GZIP)

    assert reply.body == b'<!DOCTYPE html><a href="/pypi/latest/packages/x/hello-1.0.tar.gz">x</a>'


async def test_a_page_of_unknown_length_comes_whole(package_manager, proxy):
    server = await package_manager(links=LinkStyle.ABSOLUTE)
    server.add(wheel("hello"))
    server.add_fault("*", Unsized())
    running = await proxy(server)

    reply = await running.get(PAGE, {"Accept": JSON})

    assert json.loads(reply.body)["files"][0]["url"].startswith("/pypi/")


async def test_the_clients_host_is_in_no_link(package_manager, proxy):
    server = await package_manager(links=LinkStyle.ABSOLUTE)
    server.add(wheel("hello"))
    running = await proxy(server)

    received = await running.raw(
        request_head(PAGE, "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: http", host="localhost:1")
    )

    assert b'href="/pypi/latest/packages/' in received
    assert b"evil.example" not in received
    assert b"localhost" not in received


async def test_links_written_as_plain_http_by_a_server_behind_a_terminator_are_local(package_manager, proxy):
    server = await package_manager(links=LinkStyle.ABSOLUTE)
    server.address = server.origin.replace("https:", "http:")
    server.add(wheel("hello"))
    running = await proxy(server)

    page = await running.get(PAGE, {"Accept": JSON})

    assert page.json()["files"][0]["url"].startswith("/pypi/latest/packages/")


async def test_a_page_broken_after_its_beginning_went_out_cuts_the_connection(package_manager, proxy, logs):
    server = await package_manager()
    good = f'<a href="{server.origin}/pypi/latest/packages/x/hello-1.0.tar.gz">x</a>\n'.encode() * 40_000
    server.add_fault("*", page_answer(b"<!DOCTYPE html>" + good + b"<a href='" + b"x" * 2 * MIB))
    running = await proxy(server)

    received = await running.raw(request_head(PAGE))

    assert received.startswith(b"HTTP/1.1 200 ")
    assert not received.endswith(b"0\r\n\r\n")
    assert logs.requests[0]["code"] == "upstream-unexpected"
