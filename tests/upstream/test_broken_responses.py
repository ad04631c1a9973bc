"""Claims about responses that break, stall, or are to another question."""

import gzip
import json
import time

import aiohttp
import pytest
from broken_upstream import answering
from proxy_client import JSON, PIP, UV, body_of, path_of_file, request_head, status_of

from ppmproxy.testing.package_manager import (
    BrokenJson,
    Cut,
    LinkStyle,
    LoginPage,
    RedirectLoop,
    Stall,
    Status,
    Trickle,
    Unsized,
    WrongEncoding,
    wheel,
)

PAGE = "/pypi/latest/simple/hello/"


HTML = (("Content-Type", "text/html"),)


SIZE = 300_000


@pytest.fixture
async def server(package_manager):
    server = await package_manager(base_path="/rspm")
    server.add(wheel("hello"))
    server.add_large("big-1.0-py3-none-any.whl", SIZE)
    return server


# --- in the middle of a body ---


@pytest.mark.parametrize("reset", [False, True])
async def test_half_a_file_never_looks_whole(server, proxy, logs, reset):
    server.add_fault("*.whl", Cut(100_000, reset=reset))
    running = await proxy(server)

    received = await running.raw(request_head(path_of_file(server, "big")))
    server.clear_faults()
    next_reply = await running.get(path_of_file(server, "big"))

    assert status_of(received) == 200
    assert f"Content-Length: {SIZE}".encode() in received
    assert len(body_of(received)) < SIZE
    assert logs.requests[0]["code"] == "upstream-unreachable"
    assert len(next_reply.body) == SIZE


async def test_half_a_chunked_file_never_looks_whole(package_manager, upstream, proxy):
    server = await package_manager()
    async with answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n") as url:
        running = await proxy(upstream(server, url=url))

        received = await running.raw(request_head("/a.whl"))

    assert received.startswith(b"HTTP/1.1 200 ")
    assert not received.endswith(b"0\r\n\r\n")


async def test_a_file_of_unknown_length_comes_whole(server, proxy):
    server.add_fault("*.whl", Unsized())
    running = await proxy(server)

    reply = await running.get(path_of_file(server, "big"))

    assert len(reply.body) == SIZE


async def test_a_client_notices_half_a_file(server, proxy):
    server.add_fault("*.whl", Cut(100_000))
    running = await proxy(server)

    with pytest.raises(aiohttp.ClientPayloadError):
        await running.get(path_of_file(server, "big"))


async def test_a_file_that_stalls_is_cut_after_the_timeout(server, proxy, logs):
    server.add_fault("*.whl", Stall(100_000))
    running = await proxy(server, read_timeout=1.5)

    received = await running.raw(request_head(path_of_file(server, "big")))
    server.clear_faults()
    next_reply = await running.get(path_of_file(server, "big"))

    assert 0 < len(body_of(received)) < SIZE
    assert logs.requests[0]["code"] == "upstream-timeout"
    assert len(next_reply.body) == SIZE


@pytest.mark.parametrize("links", [LinkStyle.ABSOLUTE, LinkStyle.RELATIVE])
@pytest.mark.parametrize("accept", [JSON, "text/html"])
async def test_half_a_page_is_no_page(server, proxy, links, accept):
    server.links = links
    server.gzip_pages = False
    server.add_fault("*/simple/*", Cut(200))
    running = await proxy(server)

    reply = await running.get(PAGE, {"User-Agent": UV, "Accept": accept})

    assert (reply.status, reply.code) == (424, "upstream-unreachable")


async def test_a_page_that_stalls_is_no_page(server, proxy):
    server.add_fault("*/simple/*", Stall(200))
    running = await proxy(server, read_timeout=0.3)

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert (reply.status, reply.code) == (424, "upstream-timeout")


async def test_a_page_that_comes_byte_by_byte_is_whole(server, proxy):
    server.gzip_pages = False
    server.links = LinkStyle.ABSOLUTE
    server.add_fault("*/simple/*", Trickle(7, 0.0))
    running = await proxy(server)

    reply = await running.get(PAGE, {"Accept": JSON})

    assert json.loads(reply.body)["files"][0]["url"].startswith("/pypi/")


# --- answers to another question ---


IN_BR = Status(200, None, b"\x0b\x02\x80<html>\x03", (*HTML, ("Content-Encoding", "br")))


@pytest.mark.parametrize("user_agent", [UV, PIP])
@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        (LoginPage(), "a web page instead of an index"),
        (BrokenJson(), "ends"),
        (WrongEncoding("gzip"), "not gzip"),
        (IN_BR, "unsupported coding br"),
        (Status(200, None, b"[]", (("Content-Type", JSON),)), "instead of an index"),
        (Status(200, None, b'{"files": [}', (("Content-Type", JSON),)), ""),
        (Status(200, None, b"\xff\xfe\x00", (("Content-Type", JSON),)), ""),
        (Status(200, None, b"{" * 100_000, (("Content-Type", JSON),)), ""),
        (Status(200, None, b"<a href='" + b"x" * 2_000_000, HTML), "no end"),
        (Status(200, None, b"<html><script>location='/login'</script></html>", HTML), "a web page instead of an index"),
        (Status(200, None, gzip.compress(b"<a href=x>" * 1000)[:-20], (*HTML, ("Content-Encoding", "gzip"))), "short"),
    ],
)
async def test_what_is_no_index_page_is_not_passed_for_one(server, proxy, trouble, why, user_agent):
    server.add_fault("*/simple/*", trouble)
    running = await proxy(server)

    reply = await running.get(PAGE, {"User-Agent": user_agent, "Accept": JSON})

    assert (reply.status, reply.code) == (200 if user_agent is PIP else 424, "upstream-unexpected")
    assert why in reply.json()["detail"]


@pytest.mark.parametrize(
    ("fault", "requests"),
    [(LoginPage(), 1), (BrokenJson(), 1), (WrongEncoding(), 1), (IN_BR, 1), (RedirectLoop(), 11), (Status(501), 1)],
)
async def test_what_lasts_is_reported_at_once_without_another_attempt(server, proxy, fault, requests):
    server.add_fault("*", fault)
    running = await proxy(server)
    began = time.monotonic()

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert (reply.status, reply.code) == (424, "upstream-unexpected")
    assert len(server.requests) == requests
    assert time.monotonic() - began < 9  # what may pass is tried for ten seconds


async def test_a_login_page_in_place_of_metadata_is_not_passed(server, proxy):
    server.add_fault("*.metadata", LoginPage())
    running = await proxy(server)

    reply = await running.get(path_of_file(server, "hello") + ".metadata")

    assert (reply.status, reply.code) == (424, "upstream-unexpected")


async def test_a_web_page_in_answer_to_an_upload_is_no_success(package_manager, proxy):
    server = await package_manager(scopes=("sources:write:*",))
    server.add_fault("/upload/*", LoginPage())
    running = await proxy(server, uploads=True)

    reply = await running.ask("POST", "/upload/pypi/internal", data=b"x")

    assert (reply.status, reply.code) == (424, "upstream-unexpected")
    assert "did not take it" in reply.json()["detail"]
