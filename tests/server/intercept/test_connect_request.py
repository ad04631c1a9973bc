"""Claims about what the CONNECT proxy does with a request, by its head alone."""

import base64
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppmproxy.server.intercept.connect_request import (
    Action,
    Authority,
    ConnectRefusedError,
    ConnectRules,
    authority_of,
)

PASSWORD = "the-password-of-the-run"
UPSTREAM = Authority("packagemanager.example.com", 443)
RULES = ConnectRules(frozenset({UPSTREAM, Authority("10.1.2.3", 8443)}), frozenset({7760, 40001}), PASSWORD)


def basic(user="ppmproxy", password=PASSWORD):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def head(line, *headers, authorization=None):
    proof = [f"Proxy-Authorization: {authorization or basic()}"] if authorization != "" else []
    return "\r\n".join([line, *headers, *proof]).encode("latin-1")


@pytest.mark.parametrize(
    ("target", "action", "authority"),
    [
        ("packagemanager.example.com:443", Action.INTERCEPT, UPSTREAM),
        ("PackageManager.Example.COM:443", Action.INTERCEPT, UPSTREAM),
        ("packagemanager.example.com.:443", Action.INTERCEPT, UPSTREAM),
        ("10.1.2.3:8443", Action.INTERCEPT, Authority("10.1.2.3", 8443)),
        ("packagemanager.example.com:8443", Action.TUNNEL, Authority("packagemanager.example.com", 8443)),
        ("10.1.2.3:443", Action.TUNNEL, Authority("10.1.2.3", 443)),
        ("pypi.example.org:443", Action.TUNNEL, Authority("pypi.example.org", 443)),
        ("[2001:db8::1]:443", Action.TUNNEL, Authority("2001:db8::1", 443)),
        ("127.0.0.1:5000", Action.TUNNEL, Authority("127.0.0.1", 5000)),
    ],
)
def test_an_upstream_is_intercepted_and_every_other_server_tunnelled(target, action, authority):
    decision = RULES.decide(head(f"CONNECT {target} HTTP/1.1", f"Host: {target}"))

    assert (decision.action, decision.authority) == (action, authority)


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic !!!",
        basic(password="another"),
        basic(user="root"),
        basic(password=""),
        f"Bearer {PASSWORD}",
        basic()[:-3],
    ],
)
@pytest.mark.parametrize("line", ["CONNECT packagemanager.example.com:443 HTTP/1.1", "GET http://x.example/ HTTP/1.1"])
def test_without_the_password_of_the_run_nothing_is_opened(line, authorization):
    with pytest.raises(ConnectRefusedError) as refused:
        RULES.decide(head(line, authorization=authorization))

    assert refused.value.status is HTTPStatus.PROXY_AUTHENTICATION_REQUIRED
    assert b"\r\nProxy-Authenticate: Basic realm=" in refused.value.head
    assert PASSWORD.encode() not in refused.value.head


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("CONNECT packagemanager.example.com HTTP/1.1", 400),
        ("CONNECT packagemanager.example.com:0 HTTP/1.1", 400),
        ("CONNECT packagemanager.example.com:65536 HTTP/1.1", 400),
        ("CONNECT user@packagemanager.example.com:443 HTTP/1.1", 400),
        ("CONNECT https://packagemanager.example.com:443 HTTP/1.1", 400),
        ("CONNECT packagemanager.example.com:443/ HTTP/1.1", 400),
        ("CONNECT [::1 HTTP/1.1", 400),
        ("CONNECT  packagemanager.example.com:443 HTTP/1.1", 400),
        ("CONNECT packagemanager.example.com:443 HTTP/2.0", 400),
        ("PRI * HTTP/2.0", 400),
        ("\x16\x03\x01", 400),
        ("GET / HTTP/1.1", 400),
        ("GET https://packagemanager.example.com/ HTTP/1.1", 400),
        ("GET http://packagemanager.example.com/ HTTP/1.1", 403),
        ("GET http://packagemanager.example.com:8080/ HTTP/1.1", 403),
        ("POST http://PACKAGEMANAGER.example.com./x HTTP/1.1", 403),
        ("CONNECT 127.0.0.1:7760 HTTP/1.1", 403),
        ("CONNECT localhost:40001 HTTP/1.1", 403),
        ("CONNECT [::1]:7760 HTTP/1.1", 403),
        ("CONNECT [::ffff:127.0.0.1]:7760 HTTP/1.1", 403),
        ("CONNECT 0.0.0.0:7760 HTTP/1.1", 403),
        ("GET http://127.0.0.1:7760/-/status HTTP/1.1", 403),
    ],
)
def test_an_unsupported_request_is_refused_with_a_reason(line, status):
    with pytest.raises(ConnectRefusedError) as refused:
        RULES.decide(head(line))

    assert refused.value.status == status
    assert refused.value.reason


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("X: " + "x" * (1 << 14), 431),
        ("X: a\nTransfer-Encoding: chunked", 400),
        ("X: a\rContent-Length: 7", 400),
        ("X: a\0", 400),
        (" folded", 400),
        ("Proxy-Authorization : Basic x", 400),
        ("no header", 400),
    ],
    ids=["too large", "line feed", "carriage return", "NUL", "fold", "blank in name", "no colon"],
)
@pytest.mark.parametrize("line", ["GET http://x.example/ HTTP/1.1", "CONNECT x.example:443 HTTP/1.1"])
def test_no_head_is_passed_on_that_its_server_could_read_in_another_way(line, header, status):
    with pytest.raises(ConnectRefusedError) as refused:
        RULES.decide(head(line, header, "Content-Length: 5"))

    assert refused.value.status == status


@pytest.mark.parametrize(
    ("target", "authority", "path"),
    [
        ("http://x.example/a/b?c=d", Authority("x.example", 80), "/a/b?c=d"),
        ("http://x.example:8080/", Authority("x.example", 8080), "/"),
        ("http://x.example", Authority("x.example", 80), "/"),
        ("http://x.example?q", Authority("x.example", 80), "/?q"),
        ("HTTP://[2001:db8::1]/x", Authority("2001:db8::1", 80), "/x"),
    ],
)
def test_a_plain_request_goes_on_without_what_was_meant_for_the_proxy(target, authority, path):
    decision = RULES.decide(head(f"GET {target} HTTP/1.1", "Host: x.example", "Connection: keep-alive", "X-Own: 1"))

    lines = decision.head.decode().split("\r\n")
    assert (decision.action, decision.authority) == (Action.FORWARD, authority)
    assert lines[0] == f"GET {path} HTTP/1.1"
    assert lines[1:] == ["Host: x.example", "X-Own: 1", "Connection: close", "", ""]


@given(st.binary(max_size=300))
def test_any_head_is_decided_or_refused(data):
    with pytest.raises(ConnectRefusedError) as refused:  # at the latest because the password is missing
        RULES.decide(data)

    assert refused.value.head.startswith(b"HTTP/1.1 4")


@given(st.text(max_size=60))
def test_an_authority_is_a_host_and_a_port_or_nothing(text):
    try:
        authority = authority_of(text)
    except ConnectRefusedError:
        return
    assert 0 < authority.port < 1 << 16
    assert authority.host == authority.host.lower()


def test_the_password_is_in_no_representation():
    assert PASSWORD not in repr(RULES)


@pytest.mark.parametrize(
    ("headers", "size"),
    [
        ((), 0),
        (("Content-Length: 12",), 12),
        (("content-length:12", "Content-Length: 12"), 12),
        (("Content-Length: 12", "Content-Length: 13"), None),
        (("Content-Length: 12, 12",), None),
        (("Content-Length: +1",), None),
        (("Content-Length:",), None),
        (("Transfer-Encoding: chunked",), None),
        (("Transfer-Encoding : identity",), None),
    ],
)
def test_a_plain_request_has_a_body_of_known_size_or_none(headers, size):
    given = head("POST http://x.example/ HTTP/1.1", *headers)

    if size is None:
        with pytest.raises(ConnectRefusedError):
            RULES.decide(given)
    else:
        assert RULES.decide(given).body_size == size
