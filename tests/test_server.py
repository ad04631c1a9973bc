"""Claims about `server`: who is let in, what is refused before anything looks at it, one log line, start and stop."""

import asyncio
import contextlib
import socket

import aiohttp
import pytest
from harness import UV, request_head, status_of, until

from ppmproxy.credential_sources import Surroundings
from ppmproxy.errors import CannotListenError, ConfigError
from ppmproxy.server import Daemon
from ppmproxy.settings import Settings, TcpAddress
from ppmproxy.stand_in import NoAnswer, Stall, Status, Trickle, wheel

PAGE = "/pypi/latest/simple/hello/"


@pytest.fixture
async def server(stand_in):
    server = await stand_in()
    server.add(wheel("hello"))
    return server


@pytest.fixture
async def running(server, proxy):
    return await proxy(server)


def code_of(received):
    head = received.partition(b"\r\n\r\n")[0].decode("latin-1")
    names = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    return names.get("X-Ppmproxy-Error")


# --- who is let in -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "let_in"),
    [
        ("localhost", True),
        ("LocalHost:7760", True),
        ("127.0.0.1:1", True),
        ("[::1]", True),
        ("[::1]:7760", True),
        ("evil.example", False),
        ("evil.example:7760", False),
        ("localhost.evil.example", False),
        ("localhost.", False),
        ("127.0.0.1.nip.io", False),
        ("127.1", False),
        ("0.0.0.0", False),
        ("::1", False),
        ("localhost:7760@evil.example", False),
        ("localhost/evil", False),
        ("localhost, evil.example", False),
        ("user@localhost", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("path", [PAGE, "/-/status"])
async def test_only_known_hosts_are_let_in(server, running, host, let_in, path):
    received = await running.raw(request_head(path, host=host))

    assert (status_of(received), code_of(received)) == ((200, None) if let_in else (403, "forbidden-client"))
    assert bool(server.requests) == (let_in and path is PAGE)


async def test_a_host_named_in_the_settings_is_let_in(server, proxy):
    running = await proxy(server, settings={"allowed_hosts": ("proxy.example", "other.example:8080")})

    statuses = [
        status_of(await running.raw(request_head(PAGE, host=host)))
        for host in ("proxy.example", "proxy.example:99", "other.example:8080", "other.example", "third.example")
    ]

    assert statuses == [200, 200, 200, 403, 403]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /-/live HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"GET /-/live HTTP/1.0\r\n\r\n",
        b"GET /-/live HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        b"GET /-/live HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ],
)
async def test_exactly_one_host_is_needed(running, request_bytes):
    received = await running.raw(request_bytes)

    assert status_of(received) in {400, 403}


@pytest.mark.parametrize(
    "header",
    [
        "Origin: http://localhost",
        "Origin: null",
        "Origin: https://evil.example",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-origin",
        "Sec-Fetch-Site: none",
        "sec-fetch-mode: navigate",
    ],
)
async def test_no_web_page_is_let_in(server, running, header):
    received = await running.raw(request_head(PAGE, header))

    assert (status_of(received), code_of(received)) == (403, "forbidden-client")
    assert server.requests == []


async def test_a_person_may_look_at_the_proxys_own_pages(running):
    received = await running.raw(request_head("/-/status", "Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate"))

    assert status_of(received) == 200


@pytest.mark.parametrize("target", ["/a/../b", "http://evil.example/", "evil.example:443", "*"])
async def test_a_target_that_makes_no_sense_is_told_so_before_anything_else_is_looked_at(server, running, target):
    received = await running.raw(request_head(target, host="evil.example"))

    assert (status_of(received), code_of(received)) == (400, "bad-target")
    assert server.requests == []


# --- hostile targets ---------------------------------------------------------------------------------------------------

HOSTILE = [
    b"/a/../b",
    b"/..",
    b"/a/./b",
    b"/a/%2e%2e/b",
    b"/a/%2E./b",
    b"/a/.%2e",
    b"/a/%252e%252e/b",
    b"/a%2fb",
    b"/a%2Fb",
    b"/a%252fb",
    b"/a%5cb",
    b"/a\\b",
    b"/a/..%5cb",
    b"/a%00b",
    b"/a%0d%0aX-Injected:%20yes",
    b"/a%7fb",
    b"/a\x01b",
    b"/a\x7fb",
    b"/a#b",
    b"http://127.0.0.1/pypi/latest/simple/",
    b"https://evil.example/",
    b"HTTP://localhost/",
    b"localhost:80",
    b"evil.example:443",
    b"*",
    b"?x",
    b"a/b",
    b"@evil.example/",
    b":80/x",
]


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"POST"])
@pytest.mark.parametrize("target", HOSTILE)
async def test_a_hostile_target_is_refused_and_goes_no_further(server, running, target, method):
    received = await running.raw(method + b" " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

    assert status_of(received) == 400
    assert b"X-Injected" not in received.partition(b"\r\n\r\n")[0]
    assert server.requests == []


@pytest.mark.parametrize("target", [b"evil.example:443", b"127.0.0.1:22", b"[::1]:22"])
async def test_connect_is_refused(server, running, target):
    received = await running.raw(b"CONNECT " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

    assert status_of(received) in {400, 405}
    assert server.requests == []


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET\r\n\r\n",
        b"BREW /pot HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : localhost\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n folded\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_bytes_that_are_no_request_are_refused_and_the_next_request_is_answered(server, running, request_bytes):
    received = await running.raw(request_bytes)

    assert status_of(received) in {400, 414, 431, 505}
    assert b"Traceback" not in received
    assert server.requests == []
    assert (await running.get(PAGE)).status == 200


async def test_what_is_no_request_does_not_put_its_bytes_into_the_log(running, logs):
    await running.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer the-clients-own\r\nX: a\x00b\r\n\r\n")

    assert "the-clients-own" not in logs.text


async def test_requests_follow_each_other_on_one_connection(server, running):
    two = request_head(PAGE).replace(b"Connection: close\r\n", b"") + request_head("/-/live")

    received = await running.raw(two)

    assert received.count(b"HTTP/1.1 200 ") == 2
    assert received.endswith(b"alive\n")


async def test_the_body_of_a_refused_request_is_not_taken_for_the_next_one(server, running):
    inner = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    outer = request_head("/a/../b", f"Content-Length: {len(inner)}", method="POST").replace(b"Connection: close\r\n", b"")

    received = await running.raw(outer + inner + request_head("/-/live"))

    assert received.startswith(b"HTTP/1.1 400 ")
    assert b"smuggled" not in received
    assert server.requests == []


# --- the proxy's own pages ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "line"), [("/-/live", "alive\n"), ("/-/ready", "ready\n"), ("/-/startup", "started\n")])
async def test_health_is_told_without_asking_the_upstream(server, running, path, line):
    reply = await running.get(path)

    assert (reply.status, reply.text(), reply.headers["Cache-Control"]) == (200, line, "no-store")
    assert server.requests == []


async def test_status_tells_what_was_done(server, running):
    await running.get(PAGE)
    await running.get("/x/../y".replace("..", "%2e%2e"))

    document = (await running.get("/-/status")).json()

    assert document["ready"] is True
    assert document["upstreams"][0]["url"] == server.url
    assert document["upstreams"][0]["credential"]["source"] == "environment variable PPMPROXY_TOKEN"
    assert document["requests"]["total"] == 2
    assert document["requests"]["by_status"] == {"200": 1, "400": 1}
    assert document["requests"]["errors"] == {"bad-target": 1}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_the_own_pages_are_only_read(running, method):
    assert (await running.ask(method, "/-/status")).status == 405


async def test_an_own_page_that_does_not_exist_is_404(server, running):
    reply = await running.get("/-/nothing")

    assert reply.status == 404
    assert server.requests == []


# --- the log -----------------------------------------------------------------------------------------------------------


async def test_a_request_has_one_line(running, logs):
    reply = await running.get(PAGE + "?signature=secret")

    [line] = logs.requests
    assert line.pop("timestamp")
    assert line.pop("ms") > 0
    assert line == {
        "event": "request",
        "level": "info",
        "method": "GET",
        "path": PAGE,
        "status": 200,
        "upstream": "default",
        "kind": "index",
        "source": "environment variable PPMPROXY_TOKEN",
        "sent": len(reply.body),
    }


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (request_head("/a/../b"), {"status": 400, "code": "bad-target", "path": "/a/../b"}),
        (request_head("http://evil.example/x"), {"status": 400, "code": "bad-target"}),
        (request_head(PAGE, host="evil.example"), {"status": 403, "code": "forbidden-client"}),
        (request_head("/x", method="DELETE"), {"status": 405, "code": "not-forwarded", "method": "DELETE"}),
        (request_head("/-/live"), {"status": 200, "path": "/-/live"}),
        (request_head("/-/nothing"), {"status": 404}),
        (request_head("/pypi/latest/simple/missing/"), {"status": 404, "kind": "index"}),
        (request_head(PAGE, method="HEAD"), {"status": 200, "sent": 0, "method": "HEAD"}),
    ],
)
async def test_every_kind_of_request_has_one_line(running, logs, request_bytes, expected):
    await running.raw(request_bytes)

    [line] = logs.requests
    assert {name: line[name] for name in expected} == expected


async def test_each_request_of_many_at_once_has_its_line(server, running, logs):
    await asyncio.gather(*(running.get(f"/pypi/latest/simple/project-{number}/") for number in range(50)))

    assert sorted(line["path"] for line in logs.requests) == sorted(
        f"/pypi/latest/simple/project-{number}/" for number in range(50)
    )


async def test_an_error_is_in_its_line_with_code_and_detail(server, running, logs):
    server.misbehave("*", Status(500, "Out Of Order"))

    await running.get(PAGE, {"User-Agent": UV})

    [line] = logs.requests
    assert (line["status"], line["code"]) == (502, "upstream-unexpected")
    assert "500 Out Of Order" in line["detail"]


async def test_what_a_client_writes_cannot_make_a_line_of_its_own(running, logs):
    await running.raw(request_head("/a%0a{\"event\":\"request\"}", "User-Agent: x\x0by"))

    assert len(logs.text.splitlines()) == len(logs.events("listening")) + 1


# --- start and stop ----------------------------------------------------------------------------------------------------


async def test_both_families_are_answered(running):
    statuses = []
    for url in running.daemon.urls:
        async with running.session.get(f"{url}/-/live") as response:
            statuses.append(response.status)

    assert statuses == [200] * len(statuses)
    assert running.daemon.urls[0].startswith("http://127.0.0.1:")


async def test_a_taken_port_stops_the_start_and_leaves_nothing_open(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        settings = Settings(listen=(TcpAddress("::1", port), TcpAddress("127.0.0.1", port)))

        with pytest.raises(CannotListenError):
            await Daemon.start(settings, Surroundings({}, tmp_path))

    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", port))


async def test_a_bad_setting_stops_the_start_and_leaves_nothing_open(server, upstream, tmp_path, unused_tcp_port):
    good, bad = upstream(server, name="good"), upstream(server, name="bad", mount="/b", ca_file=tmp_path / "none.pem")
    settings = Settings(listen=(TcpAddress("127.0.0.1", unused_tcp_port),), upstreams=(good, bad))

    with pytest.raises(ConfigError):
        await Daemon.start(settings, Surroundings({}, tmp_path))

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", unused_tcp_port))


async def test_a_start_says_where_it_listens(running, logs, server):
    [line] = logs.events("listening")

    assert line["urls"] == running.daemon.urls
    assert line["upstreams"] == {"/": server.url}


async def test_stopping_finishes_what_is_under_way(server, proxy):
    file = server.add_large("big-1.0-py3-none-any.whl", 500_000)
    server.misbehave("*.whl", Stall(1000))
    running = await proxy(server, settings={"drain_timeout": 10.0})

    reading = asyncio.create_task(running.get(f"/pypi/latest/packages/{file.id}/{file.filename}"))
    await until(lambda: server.requests and server.requests[0].sent)
    stopping = asyncio.create_task(running.daemon.stop())
    await until(lambda: running.tally.draining)
    server.release()
    reply = await reading
    await stopping

    assert len(reply.body) == 500_000


async def test_stopping_takes_no_more_requests(server, proxy):
    server.misbehave("*", NoAnswer())
    running = await proxy(server, settings={"drain_timeout": 10.0})

    waiting = asyncio.create_task(running.get(PAGE))
    await until(lambda: server.requests)
    stopping = asyncio.create_task(running.daemon.stop())
    await until(lambda: running.tally.draining)
    await asyncio.sleep(0)
    with pytest.raises(aiohttp.ClientConnectorError):
        async with aiohttp.ClientSession() as session:
            await session.get(f"{running.url}/-/live")
    server.behave()
    await asyncio.gather(waiting, stopping)

    assert waiting.result().status == 200


async def test_stopping_does_not_wait_for_ever(server, proxy):
    server.misbehave("*", NoAnswer())
    running = await proxy(server, settings={"drain_timeout": 0.1})

    waiting = asyncio.create_task(running.get(PAGE))
    await until(lambda: server.requests)
    await asyncio.wait_for(running.daemon.stop(), 5)

    with contextlib.suppress(aiohttp.ClientError):
        assert (await waiting).status >= 500


async def test_stopping_does_not_wait_for_idle_connections(running):
    async with running.connected() as (reader, writer):
        writer.write(b"GET /-/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"alive\n")

        await asyncio.wait_for(running.daemon.stop(), 5)

        assert await asyncio.wait_for(reader.read(), 5) == b""


async def test_stopping_twice_does_no_harm(running):
    await running.daemon.stop()
    await running.daemon.stop()


async def test_a_daemon_that_is_stopping_is_not_ready(running):
    running.tally.draining = True

    reply = await running.get("/-/ready")

    assert reply.status == 503
    assert "stopping" in reply.text()


async def test_a_mistake_of_ours_is_told_without_its_insides(server, running, logs):
    running.daemon.services.ways["default"].schemes["pypi"] = "no such scheme"

    reply = await running.get(PAGE, {"User-Agent": UV})

    assert reply.status in {200, 500}
    assert "Traceback" not in reply.text()


async def test_one_slow_client_does_not_hold_up_the_others(server, running):
    file = server.add_large("big-1.0-py3-none-any.whl", 50_000_000)

    async with running.connected() as (reader, writer):
        writer.write(request_head(f"/pypi/latest/packages/{file.id}/{file.filename}"))
        await reader.readuntil(b"\r\n\r\n")

        assert (await running.get(PAGE)).status == 200


async def test_in_flight_comes_back_to_nothing(server, running):
    server.misbehave("*.whl", Trickle(10, 0.01))
    await asyncio.gather(*(running.get(path) for path in [PAGE, "/x", "/-/live", "/a%2fb"]))

    assert running.tally.in_flight == 0
    assert running.tally.requests == 4
