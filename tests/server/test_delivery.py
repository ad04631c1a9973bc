"""Claims about delivery: the content of a response decides, not its Content-Type."""

import gzip

import pytest
from proxy_client import UV

from ppmproxy.testing.package_manager import LoginPage, Status, wheel

WHEEL = "/pypi/latest/packages/1/hello-1.0-py3-none-any.whl"
SIGN_IN = b"<!DOCTYPE html><title>Sign in</title><form action=/login></form>"
HTML = ("Content-Type", "text/html; charset=utf-8")


@pytest.mark.parametrize("path", [WHEEL, f"{WHEEL}.metadata"])
@pytest.mark.parametrize("body", [b"PK\x03\x04 and so on", b"Metadata-Version: 2.1\nName: hello\n", b"", b" ", b"<"])
@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-100"}])
async def test_a_file_labelled_as_a_web_page_passes(package_manager, proxy, path, body, headers):
    server = await package_manager()
    server.add_fault("*", Status(200, None, body, (HTML,)))
    running = await proxy(server)

    reply = await running.get(path, headers)

    assert (reply.status, reply.body, reply.headers["Content-Type"]) == (200, body, HTML[1])


@pytest.mark.parametrize("client", ["pip/26.3", UV])
@pytest.mark.parametrize("headers", [(HTML,), (("Content-Type", "application/octet-stream"),), ()])
@pytest.mark.parametrize("path", [WHEEL, f"{WHEEL}.metadata"])
async def test_a_web_page_in_place_of_a_file_is_refused_so_that_clients_show_it(
    package_manager, proxy, path, headers, client
):
    server = await package_manager()
    server.add_fault("*", Status(200, None, SIGN_IN, headers))
    running = await proxy(server)

    reply = await running.get(path, {"User-Agent": client})

    assert (reply.status, reply.code) == (424, "upstream-unexpected")
    assert "a web page instead of a file" in reply.reason


@pytest.mark.parametrize("start", [b"<center><h1>404 Not Found</h1></center>", b"<h1>Not Found</h1>", b"<pre>no</pre>"])
@pytest.mark.parametrize("path", [WHEEL, f"{WHEEL}.metadata"])
async def test_a_page_of_a_gateway_without_a_head_is_a_web_page(package_manager, proxy, path, start):
    server = await package_manager()
    server.add_fault("*", Status(200, None, start, (HTML,)))
    running = await proxy(server)

    reply = await running.get(path)

    assert (reply.status, reply.code) == (424, "upstream-unexpected")


async def test_a_compressed_web_page_in_place_of_a_file_is_recognised(package_manager, proxy):
    server = await package_manager()
    server.add_fault("*", Status(200, None, gzip.compress(SIGN_IN), (HTML, ("Content-Encoding", "gzip"))))
    running = await proxy(server)

    assert (await running.get(WHEEL)).status == 424


@pytest.mark.parametrize("status", [200, 201, 202, 203, 206, 226, 299])
async def test_a_file_passes_with_any_status_of_success(package_manager, proxy, status):
    server = await package_manager()
    body = b"PK\x03\x04" + bytes(100_000)
    server.add_fault("*", Status(status, None, body))
    running = await proxy(server)

    reply = await running.get(WHEEL)

    assert (reply.status, reply.body) == (status, body)


async def test_a_large_file_labelled_as_a_web_page_passes_whole(package_manager, proxy):
    server = await package_manager(tls=False)
    body = b"PK\x03\x04" + bytes(40 << 20)
    server.add_fault("*", Status(200, None, body, (HTML,)))
    running = await proxy(server)

    assert (await running.get(WHEEL)).body == body


async def test_a_head_of_a_file_says_nothing_of_its_content(package_manager, proxy):
    server = await package_manager()
    server.add(wheel("hello"))
    server.add_fault("*", LoginPage())
    running = await proxy(server)

    assert (await running.ask("HEAD", WHEEL)).status == 200
