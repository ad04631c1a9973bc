"""Claims about failures before there is a response, and what foreign exceptions mean."""

import asyncio
import errno
import os
import resource
import socket

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from broken_upstream import answering
from proxy_client import JSON, UV, path_of_file, request_head

from ppmproxy.errors import (
    NoConnectionError,
    UpstreamTimeoutError,
    UpstreamUnexpectedError,
    UpstreamUnreachableError,
)
from ppmproxy.testing.package_manager import (
    CloseBeforeHead,
    Delay,
    LoginPage,
    LoginRedirect,
    NoAnswer,
    RedirectTo,
    Status,
    wheel,
)
from ppmproxy.upstream.errors_map import map_exception

PAGE = "/pypi/latest/simple/hello/"


SIZE = 300_000


@pytest.fixture
async def server(package_manager):
    server = await package_manager(base_path="/rspm")
    server.add(wheel("hello"))
    server.add_large("big-1.0-py3-none-any.whl", SIZE)
    return server


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


def patience(what):
    """The read timeout, in seconds."""
    return 1.5 if what == "no answer" else 60.0


@pytest.mark.usefixtures("short_retries")
@pytest.mark.parametrize("what", TROUBLES)
async def test_a_failed_page_is_reported_and_the_next_one_succeeds(server, proxy, what):
    trouble, code, status = TROUBLES[what]
    running = await proxy(server, read_timeout=patience(what))
    server.add_fault("*", trouble)

    reply = await running.get(PAGE, {"User-Agent": UV})
    server.clear_faults()
    next_reply = await running.get(PAGE)

    assert (reply.status, reply.code) == (status, code)
    assert next_reply.status == 200
    assert running.state.in_flight == 0


@pytest.mark.usefixtures("short_retries")
@pytest.mark.parametrize("what", ["no answer", "closed", "login page"])
async def test_a_failed_file_is_reported_and_the_next_one_succeeds(server, proxy, what):
    trouble, code, status = TROUBLES[what]
    running = await proxy(server, read_timeout=patience(what))
    server.add_fault("*", trouble)
    path = path_of_file(server, "big")

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
    assert "the upstream's url" in reply.text()


async def test_a_server_behind_a_redirect_that_cannot_be_reached_is_reported_as_that(package_manager, upstream, proxy):
    server = await package_manager()
    server.add_fault(PAGE, RedirectTo("https://storage.invalid/x"))
    running = await proxy(upstream(server, read_timeout=0.3))

    reply = await running.get(PAGE, {"User-Agent": UV})

    said = reply.text()
    assert "cannot connect to https://storage.invalid: the host name is unknown" in said
    assert "the Package Manager redirects there" in said
    assert "the upstream's url" not in said


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
