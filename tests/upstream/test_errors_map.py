"""Claims about faults of the upstream: each is reported, no partial file looks complete, the next request works."""

import asyncio
import contextlib
import errno
import gzip
import json
import os
import resource
import socket
import time

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from proxy_client import JSON, PIP, UV, body_of, request_head, status_of, wait_until

from ppmproxy.errors import (
    NoConnectionError,
    UpstreamTimeoutError,
    UpstreamUnexpectedError,
    UpstreamUnreachableError,
)
from ppmproxy.testing.package_manager import (
    BrokenJson,
    CloseBeforeHead,
    Cut,
    Delay,
    LinkStyle,
    LoginPage,
    LoginRedirect,
    NoAnswer,
    RedirectLoop,
    Stall,
    Status,
    Trickle,
    Unsized,
    WrongEncoding,
    wheel,
)
from ppmproxy.upstream.errors_map import map_exception

PAGE = "/pypi/latest/simple/hello/"
HTML = (("Content-Type", "text/html"),)
SIZE = 300_000


@pytest.fixture
async def server(package_manager):
    server = await package_manager(base_path="/rspm")
    server.add(wheel("hello"))
    server.add_large("big-1.0-py3-none-any.whl", SIZE)
    return server


def path_of(server, project):
    file = server.catalog.files("pypi", project)[0]
    return f"/pypi/latest/packages/{file.id}/{file.filename}"


@contextlib.asynccontextmanager
async def answering(data):
    """A server that answers everything with the same bytes, and then hangs up; its URL."""

    async def serve(reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(data)
            await writer.drain()
        writer.transport.abort() if not data else writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        await listening.wait_closed()


# --- before there is an answer ---

TROUBLES = {
    "no answer": (NoAnswer(), "upstream-timeout", 424),
    "closed": (CloseBeforeHead(), "upstream-unreachable", 424),
    "reset": (CloseBeforeHead(reset=True), "upstream-unreachable", 424),
    "500": (Status(500), "upstream-unexpected", 424),
    "503": (Status(503), "upstream-unexpected", 424),
    "504": (Status(504), "upstream-timeout", 424),
    "login page": (LoginPage(), "upstream-unexpected", 424),
    "login page of another origin": (LoginRedirect(), "upstream-unreachable", 424),
    "an empty page": (Status(200, None, b"", (("Content-Type", JSON),)), "upstream-unexpected", 424),
}


@pytest.mark.parametrize("what", TROUBLES)
async def test_a_failed_page_is_reported_and_the_next_one_succeeds(server, proxy, what):
    trouble, code, status = TROUBLES[what]
    running = await proxy(server, read_timeout=0.3)
    server.add_fault("*", trouble)

    reply = await running.get(PAGE, {"User-Agent": UV})
    server.clear_faults()
    next_reply = await running.get(PAGE)

    assert (reply.status, reply.code) == (status, code)
    assert next_reply.status == 200
    assert running.state.in_flight == 0


@pytest.mark.parametrize("what", ["no answer", "closed", "login page"])
async def test_a_failed_file_is_reported_and_the_next_one_succeeds(server, proxy, what):
    trouble, code, status = TROUBLES[what]
    running = await proxy(server, read_timeout=0.3)
    server.add_fault("*", trouble)
    path = path_of(server, "big")

    reply = await running.get(path)
    server.clear_faults()
    next_reply = await running.get(path)

    assert (reply.status, reply.code) == (status, code)
    assert (next_reply.status, len(next_reply.body)) == (200, SIZE)


async def test_an_upstream_that_takes_its_time_is_waited_for(server, proxy):
    server.add_fault("*", Delay(0.2))
    running = await proxy(server, read_timeout=5.0)

    assert (await running.get(PAGE)).status == 200


async def test_no_answer_is_not_waited_for_again(server, proxy):
    server.add_fault("*", NoAnswer())
    running = await proxy(server, read_timeout=0.2)

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert "did not answer in time" in reply.json()["detail"]
    assert len(server.requests) == 1


async def test_a_refused_port_is_reported(package_manager, upstream, proxy, unused_tcp_port):
    server = await package_manager()
    running = await proxy(upstream(server, url=f"https://127.0.0.1:{unused_tcp_port}", read_timeout=0.3))

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert (reply.status, reply.code) == (424, "upstream-unreachable")
    assert f"127.0.0.1:{unused_tcp_port}" in reply.json()["detail"]


async def test_an_unknown_host_name_is_reported(package_manager, upstream, proxy):
    server = await package_manager()
    running = await proxy(upstream(server, url="https://pm.invalid", read_timeout=0.3))

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert (reply.status, reply.code) == (424, "upstream-unreachable")
    assert "cannot connect to https://pm.invalid: the host name is unknown" in reply.json()["detail"]


@pytest.mark.parametrize(
    "nonsense",
    [
        b"SSH-2.0-OpenSSH_9.0\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: nameless\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"\x16\x03\x01\x00\xa5\x01",
        b"",
    ],
)
async def test_bad_http_is_reported(package_manager, upstream, proxy, nonsense):
    server = await package_manager()
    async with answering(nonsense) as url:
        running = await proxy(upstream(server, url=url, read_timeout=0.4))

        reply = await running.get(PAGE, {"User-Agent": UV})

    assert reply.status == 424
    assert reply.code in {"upstream-unexpected", "upstream-unreachable"}


async def test_bad_http_of_an_upstream_does_not_reach_the_client(package_manager, upstream, proxy):
    server = await package_manager()
    head = (
        b"HTTP/1.1 200 Fine\r\nX-One: a\r\nContent-Type: text/plain\r\nX-Two: b\xff\x01c\r\nContent-Length: 2\r\n\r\nok"
    )
    async with answering(head) as url:
        running = await proxy(upstream(server, url=url))

        received = await running.raw(request_head("/x"))

    assert b"\x01" not in received.partition(b"\r\n\r\n")[0]


# --- in the middle of a body ---


@pytest.mark.parametrize("reset", [False, True])
async def test_half_a_file_never_looks_whole(server, proxy, logs, reset):
    server.add_fault("*.whl", Cut(100_000, reset=reset))
    running = await proxy(server)

    received = await running.raw(request_head(path_of(server, "big")))
    server.clear_faults()
    next_reply = await running.get(path_of(server, "big"))

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

    reply = await running.get(path_of(server, "big"))

    assert len(reply.body) == SIZE


async def test_a_client_notices_half_a_file(server, proxy):
    server.add_fault("*.whl", Cut(100_000))
    running = await proxy(server)

    with pytest.raises(aiohttp.ClientPayloadError):
        await running.get(path_of(server, "big"))


async def test_a_file_that_stalls_is_cut_after_the_timeout(server, proxy, logs):
    server.add_fault("*.whl", Stall(100_000))
    running = await proxy(server, read_timeout=0.3)

    received = await running.raw(request_head(path_of(server, "big")))
    server.clear_faults()
    next_reply = await running.get(path_of(server, "big"))

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

    reply = await running.get(path_of(server, "hello") + ".metadata")

    assert (reply.status, reply.code) == (424, "upstream-unexpected")


async def test_a_web_page_in_answer_to_an_upload_is_no_success(package_manager, proxy):
    server = await package_manager(scopes=("sources:write:*",))
    server.add_fault("/upload/*", LoginPage())
    running = await proxy(server, uploads=True)

    reply = await running.ask("POST", "/upload/pypi/internal", data=b"x")

    assert (reply.status, reply.code) == (424, "upstream-unexpected")
    assert "did not take it" in reply.json()["detail"]


# --- clients that leave ---


async def test_a_client_that_leaves_ends_the_upstreams_answer(server, proxy, logs):
    server.add_fault("*.whl", Trickle(1000, 0.005))
    running = await proxy(server)

    async with running.connected() as (reader, writer):
        writer.write(request_head(path_of(server, "big")))
        await reader.readuntil(b"\r\n\r\n")
    await wait_until(lambda: server.requests[-1].client_left)

    assert server.requests[-1].sent < SIZE
    assert [event.get("code") for event in logs.requests] == ["client-left"]
    assert running.state.in_flight == 0


async def test_a_client_that_leaves_before_the_answer_ends_the_wait(server, proxy, logs):
    server.add_fault("*", NoAnswer())
    running = await proxy(server)

    async with running.connected() as (_, writer):
        writer.write(request_head(PAGE))
        await wait_until(lambda: server.requests)
    await wait_until(lambda: logs.requests)
    server.release()

    await wait_until(lambda: server.requests[0].client_left)
    assert [event.get("code") for event in logs.requests] == ["client-left"]
    assert running.state.in_flight == 0


async def test_many_clients_that_leave_leave_nothing_behind(server, proxy, logs):
    server.add_fault("*", NoAnswer())
    running = await proxy(server, max_connections=5)

    async with contextlib.AsyncExitStack() as stack:
        for _ in range(20):
            _, writer = await stack.enter_async_context(running.connected())
            writer.write(request_head(PAGE))
        await wait_until(lambda: running.state.in_flight == 20)
    await wait_until(lambda: running.state.in_flight == 0)
    server.clear_faults()

    assert (await running.get(PAGE)).status == 200
    assert len(logs.requests) == 21


async def test_half_a_request_is_no_request(server, proxy, logs):
    running = await proxy(server)

    async with running.connected() as (_, writer):
        writer.write(b"GET /pypi/latest/simple/hello/ HTTP/1.1\r\nHost: loc")
        await writer.drain()

    assert (await running.get(PAGE)).status == 200
    assert len(logs.requests) == 1


# --- foreign exceptions ---


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (aiohttp.ConnectionTimeoutError(), NoConnectionError),
        (aiohttp.SocketTimeoutError(), UpstreamTimeoutError),
        (asyncio.TimeoutError(), UpstreamTimeoutError),
        (TimeoutError(), UpstreamTimeoutError),
        (socket.gaierror(-2, "unknown"), NoConnectionError),
        (aiohttp.ClientPayloadError(), UpstreamUnreachableError),
        (aiohttp.ServerDisconnectedError(), UpstreamUnreachableError),
        (ConnectionResetError(), UpstreamUnreachableError),
        (OSError(113, "No route to host"), NoConnectionError),
        (ValueError("anything"), UpstreamUnexpectedError),
        (aiohttp.InvalidURL("anything"), UpstreamUnexpectedError),
    ],
)
def test_each_failure_of_the_network_has_its_meaning(error, expected):
    told = map_exception(error, "https://user:secret@pm.example.com:8443/path?sig=secret")

    assert type(told) is expected
    assert "secret" not in told.detail
    assert told.hint


@pytest.mark.parametrize("wrap", [True, False])
def test_a_look_up_that_fails_for_want_of_descriptors_is_not_an_unknown_name(wrap):
    """The system says EMFILE, or that the name is not known, whichever file it could not open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    error = OSError(errno.EMFILE, "Too many open files") if wrap else socket.gaierror(-3, "Temporary failure")
    key = ConnectionKey("pm.example.com", 443, True, True, None, None, None)
    lowest = os.dup(0)
    os.close(lowest)
    if not wrap:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        told = map_exception(aiohttp.ClientConnectorDNSError(key, error), "https://pm.example.com")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert str(told) == "cannot connect to https://pm.example.com: too many open files"
    assert "ulimit -n" in told.hint


@pytest.mark.parametrize(("number", "hint"), [(errno.EMFILE, "ulimit -n"), (errno.ENFILE, "close other programs")])
def test_a_process_or_machine_with_no_file_left_is_no_fault_of_the_network(number, hint):
    told = map_exception(OSError(number, "Too many open files"), "https://pm.example.com")

    assert hint in told.hint
    assert "VPN" not in told.hint
