"""Claims about the grammar of intercepted requests."""

import pytest

from ppmproxy.errors import BadTargetError, NotForwardedError
from ppmproxy.server.intercept.connect_request import Authority
from ppmproxy.server.intercept.intercepted_request import MisdirectedError, intercepted_request

AUTHORITY = Authority("packagemanager.example.com", 443)


def head(*lines, first="GET /pypi/ HTTP/1.1"):
    return "\r\n".join([first, *lines, "", ""]).encode()


@pytest.mark.parametrize(
    ("lines", "size"),
    [
        ((), 0),
        (("Content-Length: 12",), 12),
        (("content-length:0 ",), 0),
        (("Transfer-Encoding: chunked",), None),
    ],
)
def test_a_head_says_how_long_its_body_is(lines, size):
    assert intercepted_request(head(*lines)).body_size == size


@pytest.mark.parametrize(
    "broken",
    [
        head("Content-Length: 1", "Content-Length: 1"),
        head("Content-Length: 1", "Transfer-Encoding: chunked"),
        head("Content-Length: -1"),
        head("Content-Length: 1, 1"),
        head("Content-Length: " + "9" * 19),
        head("No-Colon"),
        head("Host : x"),
        head(" Folded: x"),
        head(first="PRI * HTTP/2.0"),
        head(first="GET  /pypi/ HTTP/1.1"),
        head(first="GET /pypi/"),
        head(first="\x00\x01"),
    ],
)
def test_what_parsers_read_in_different_ways_is_refused(broken):
    with pytest.raises(BadTargetError, match="is not HTTP"):
        intercepted_request(broken)


def test_the_daemon_gets_no_credential_and_no_header_of_one_connection():
    own = ("Host: packagemanager.example.com", "Authorization: Basic x", "Cookie: a=b", "Proxy-Authorization: y")
    request = intercepted_request(head(*own, "Connection: X-Hop", "X-Hop: 1", "Accept: */*", "X-Ppmproxy-Intercept: z"))

    lines = request.for_daemon("127.0.0.1:7760", "a proof").decode().split("\r\n")

    assert lines == [
        "GET /pypi/ HTTP/1.1",
        "Host: 127.0.0.1:7760",
        "X-Ppmproxy-Intercept: a proof",
        "Accept: */*",
        "",
        "",
    ]


def test_the_host_gets_the_client_s_own_credentials():
    own = ("Host: packagemanager.example.com", "Authorization: Basic x", "Cookie: a=b")

    sent = intercepted_request(head(*own, "Proxy-Authorization: y", "X-Ppmproxy-Intercept: z")).for_host()

    assert sent == head(*own)


@pytest.mark.parametrize(
    ("lines", "last"),
    [
        (("Connection: close",), "Connection: close"),
        (("Transfer-Encoding: chunked",), "Connection: close"),
        (("Connection: keep-alive",), "Connection: keep-alive"),
    ],
)
def test_the_end_of_a_connection_is_handed_on(lines, last):
    assert intercepted_request(head(*lines)).for_host().decode().split("\r\n")[-3] == last


@pytest.mark.parametrize("name", ["Content-Length: 4", "Transfer-Encoding: chunked"])
def test_no_word_in_connection_takes_away_where_a_body_ends(name):
    request = intercepted_request(head(name, f"Connection: {name.partition(':')[0]}"))

    assert f"{name}\r\n" in request.for_host().decode()


@pytest.mark.parametrize("raw", [b"/caf\xc3\xa9/", b"/\xff/"])
def test_the_bytes_of_a_target_pass_unchanged(raw):
    request = intercepted_request(b"GET " + raw + b" HTTP/1.1\r\n\r\n")

    assert request.for_host().split(b" ")[1] == raw


@pytest.mark.parametrize("host", ["packagemanager.example.com", "PackageManager.example.com:443"])
def test_a_request_for_the_host_of_its_connection_is_accepted(host):
    intercepted_request(head(f"Host: {host}")).check_host(AUTHORITY)


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("Host: pypi.example.org",),
        ("Host: packagemanager.example.com",) * 2,
        ("Host: packagemanager.example.com:1",),
    ],
)
def test_a_request_for_another_host_is_misdirected(lines):
    with pytest.raises(MisdirectedError):
        intercepted_request(head(*lines)).check_host(AUTHORITY)


def test_an_upgraded_connection_is_refused():
    request = intercepted_request(head("Host: packagemanager.example.com", "Connection: keep-alive, Upgrade"))

    with pytest.raises(NotForwardedError, match="WebSocket"):
        request.check_host(AUTHORITY)
