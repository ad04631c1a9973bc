"""Claims about admission with raw bytes on a socket: which requests are refused before they are parsed further."""

import pytest
from proxy_client import PAGE, code_of, request_head, status_of

from ppmproxy.testing.package_manager import wheel


@pytest.fixture
async def server(package_manager):
    server = await package_manager()
    server.add(wheel("hello"))
    return server


@pytest.fixture
async def running(server, proxy):
    return await proxy(server)


# --- who is let in ---


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


async def test_a_browser_may_read_the_admin_pages(running):
    received = await running.raw(request_head("/-/status", "Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate"))

    assert status_of(received) == 200


@pytest.mark.parametrize("target", ["/a/../b", "http://evil.example/", "evil.example:443", "*"])
async def test_a_malformed_target_is_refused_before_any_other_check(server, running, target):
    received = await running.raw(request_head(target, host="evil.example"))

    assert (status_of(received), code_of(received)) == (400, "bad-target")
    assert server.requests == []


# --- hostile targets ---

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
async def test_bytes_that_are_no_request_are_refused_and_the_next_request_is_answered(
    server, running, logs, request_bytes
):
    received = await running.raw(request_bytes)

    assert status_of(received) in {400, 431}
    assert code_of(received) == "bad-target"
    assert [line["code"] for line in logs.requests] == ["bad-target"]
    assert server.requests == []
    assert (await running.get(PAGE)).status == 200


async def test_the_bytes_of_a_malformed_request_are_not_logged(running, logs):
    await running.raw(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer the-clients-own\r\nX: a\x00b\r\n\r\n"
    )

    assert "the-clients-own" not in logs.text


async def test_requests_follow_each_other_on_one_connection(server, running):
    two = request_head(PAGE).replace(b"Connection: close\r\n", b"") + request_head("/-/live")

    received = await running.raw(two)

    assert received.count(b"HTTP/1.1 200 ") == 2
    assert received.endswith(b"alive\n")


async def test_the_body_of_a_refused_request_is_not_taken_for_the_next_one(server, running):
    inner = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    outer = request_head("/a/../b", f"Content-Length: {len(inner)}", method="POST").replace(
        b"Connection: close\r\n", b""
    )

    received = await running.raw(outer + inner + request_head("/-/live"))

    assert received.startswith(b"HTTP/1.1 400 ")
    assert b"smuggled" not in received
    assert server.requests == []
