from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppmproxy.access.policy import Users, allowed_hosts, check_client, check_user, may_use, users_of
from ppmproxy.config.local_address import TcpAddress, UnixAddress
from ppmproxy.config.model import Access, AccessRule, Settings
from ppmproxy.errors import ConfigError, ForbiddenClientError

USUAL = allowed_hosts(Settings())
PAGE = "/pypi/latest/simple/"


def is_let_in(headers, raw_target=PAGE, allowed=USUAL):
    try:
        check_client(headers, raw_target, allowed)
    except ForbiddenClientError:
        return False
    return True


# --- Host -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:7760",
        "LocalHost:7760",
        "127.0.0.1",
        "127.0.0.1:7760",
        "[::1]",
        "[::1]:7760",
        "localhost:",
        "localhost:1",
        "localhost:65535",
        " localhost:7760\t",
    ],
)
def test_a_host_that_names_this_machine_is_admitted_on_any_port(host):
    assert is_let_in([("Host", host)])
    assert is_let_in([("hOST", host), ("User-Agent", "pip/26.3")])


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        ":7760",
        "evil.com",
        "evil.com:7760",
        "localhost.",
        "localhost.evil.com",
        "evil.localhost",
        "127.0.0.1.evil.com",
        "127.0.0.2",
        "127.1",
        "0.0.0.0",
        "2130706433",
        "0x7f000001",
        "::1",
        "::1:7760",
        "[::1",
        "[::1]x",
        "[::1]:x",
        "[::ffff:127.0.0.1]",
        "[0:0:0:0:0:0:0:1]",
        "localhost:x",
        "localhost:-1",
        "localhost:123456",
        "localhost:80:80",
        "localhost:\u0667\u0667",
        "user@localhost",
        "user:password@localhost:7760",
        "localhost@evil.com",
        "evil.com#@localhost",
        "localhost/x",
        "localhost\\x",
        "localhost evil.com",
        "localhost,evil.com",
        "localhost\x00",
        "localhost\u00a0",
        "\u2028localhost",
        "localho\u017ft",
        "http://localhost",
    ],
)
def test_any_other_host_is_a_rebound_name_or_a_mistake_and_is_refused(host):
    assert not is_let_in([("Host", host)])


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("X-Forwarded-Host", "localhost")],
        [("Host", "localhost"), ("Host", "localhost")],
        [("Host", "evil.com"), ("host", "localhost")],
        [("Host", "localhost"), ("HOST", "evil.com")],
    ],
)
def test_a_request_has_exactly_one_host(headers):
    assert not is_let_in(headers)


@pytest.mark.parametrize(
    ("settings", "host", "let_in"),
    [
        (Settings(allowed_hosts=("ppm.internal",)), "ppm.internal", True),
        (Settings(allowed_hosts=("ppm.internal",)), "PPM.internal:80", True),
        (Settings(allowed_hosts=("ppm.internal:7760",)), "ppm.internal:7760", True),
        (Settings(allowed_hosts=("ppm.internal:7760",)), "ppm.internal:7761", False),
        (Settings(allowed_hosts=("ppm.internal:7760",)), "ppm.internal", False),
        (Settings(allowed_hosts=("ppm.internal",)), "x.ppm.internal", False),
        (Settings(listen=(TcpAddress("10.0.0.7", 7760),)), "10.0.0.7:7760", True),
        (Settings(listen=(TcpAddress("10.0.0.7", 7760),)), "localhost", True),
        (Settings(listen=(TcpAddress("fe80::7", 7760),)), "[fe80::7]:7760", True),
        (Settings(listen=(TcpAddress("box.lan", 7760),)), "BOX.lan", True),
        (Settings(listen=(TcpAddress("0.0.0.0", 7760),)), "0.0.0.0:7760", False),
        (Settings(listen=(TcpAddress("::", 7760),)), "[::]:7760", False),
        (Settings(listen=(UnixAddress(Path("/run/p.sock")),)), "localhost", True),
    ],
)
def test_the_listen_addresses_and_what_the_settings_name_are_hosts_too(settings, host, let_in):
    assert is_let_in([("Host", host)], allowed=allowed_hosts(settings)) is let_in


def test_a_refusal_names_the_host_and_what_to_do():
    with pytest.raises(ForbiddenClientError, match=r"does not answer to the Host evil\.com") as caught:
        check_client([("Host", "evil.com")], PAGE, USUAL)

    assert "allowed_hosts" in caught.value.hint
    assert (caught.value.status, caught.value.code) == (403, "forbidden-client")


@given(st.text(max_size=100))
def test_a_refusal_shows_no_strange_characters_of_the_host(host):
    try:
        check_client([("Host", host)], PAGE, USUAL)
    except ForbiddenClientError as error:
        shown = str(error)
    else:
        shown = ""

    assert shown.isascii()
    assert shown == "" or shown.isprintable()


# --- browsers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        [("Origin", "https://evil.com")],
        [("Origin", "null")],
        [("Origin", "")],
        [("origin", "http://localhost:7760")],
        [("Sec-Fetch-Site", "cross-site")],
        [("Sec-Fetch-Site", "same-site")],
        [("Sec-Fetch-Site", "same-origin")],
        [("Sec-Fetch-Site", "none")],
        [("Sec-Fetch-Site", "")],
        [("SEC-FETCH-SITE", "none"), ("Origin", "null")],
        [("Sec-Fetch-Mode", "no-cors")],
        [("Sec-Fetch-Dest", "image")],
        [("Sec-Fetch-User", "?1")],
    ],
)
def test_a_request_from_a_web_page_is_refused(headers):
    assert not is_let_in([("Host", "localhost:7760"), *headers])


@pytest.mark.parametrize(
    ("raw_target", "headers", "let_in"),
    [
        ("/-/status", [("Sec-Fetch-Site", "none")], True),
        ("/-/", [("Sec-Fetch-Site", "none"), ("Sec-Fetch-Mode", "navigate")], True),
        ("/-/status", [], True),
        ("/-/metrics", [("Sec-Fetch-Site", "none")], False),
        ("/-/status", [("Sec-Fetch-Site", "cross-site")], False),
        ("/-/status", [("Sec-Fetch-Site", "same-origin")], False),
        ("/-/status", [("Sec-Fetch-Site", "None")], False),
        ("/-/status", [("Sec-Fetch-Site", "none"), ("Origin", "null")], False),
        ("/-/status", [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Site", "none")], False),
        ("/-/status", [("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "cross-site")], False),
        ("/-/files/default/files.example.com/x", [("Sec-Fetch-Site", "none")], False),
        ("/pypi/latest/simple/", [("Sec-Fetch-Site", "none")], False),
        ("/-", [("Sec-Fetch-Site", "none")], False),
        ("http://localhost/-/status", [("Sec-Fetch-Site", "none")], False),
    ],
)
def test_a_person_may_type_the_address_of_one_of_the_proxy_s_own_pages_and_of_no_other(raw_target, headers, let_in):
    assert is_let_in([("Host", "localhost:7760"), *headers], raw_target) is let_in


def test_a_page_that_rebound_its_name_cannot_read_the_own_pages():
    assert not is_let_in([("Host", "evil.com:7760"), ("Sec-Fetch-Site", "none")], "/-/status")


@pytest.mark.parametrize("user_agent", ["pip/26.3", "uv/0.13.9", "Poetry/2.5.1", "twine/7.0.0", "R (4.4.1)", "curl/8"])
def test_an_installer_is_admitted(user_agent):
    headers = [
        ("Host", "127.0.0.1:7760"),
        ("User-Agent", user_agent),
        ("Accept", "application/vnd.pypi.simple.v1+json, text/html; q=0.1"),
        ("Accept-Encoding", "gzip, deflate"),
        ("Connection", "keep-alive"),
        ("Authorization", "Basic eDp4"),
    ]

    assert is_let_in(headers)


# --- users ------------------------------------------------------------------------------------------------------------

NUMBERS = {"alice": 1001, "bob": 1002}


@pytest.mark.parametrize(
    ("access", "let_in", "refused"),
    [
        (Access(), [1000, 0], [1001, 65534, None]),
        (Access(AccessRule.ANY), [1000, 0, 1001, None], []),
        (Access(AccessRule.LISTED, names=("alice",), uids=(1007,)), [1000, 0, 1001, 1007], [1002, None]),
        (Access(AccessRule.LISTED), [1000, 0], [1001, None]),
    ],
)
def test_the_own_user_root_and_whom_the_settings_list_may_use_the_proxy(access, let_in, refused):
    users = users_of(access, 1000, NUMBERS.get)

    assert [uid for uid in let_in + refused if may_use(uid, users)] == let_in
    for uid in refused:
        with pytest.raises(ForbiddenClientError):
            check_user(uid, users)


def test_a_name_that_nobody_here_has_is_a_mistake_in_the_settings():
    with pytest.raises(ConfigError, match="carol"):
        users_of(Access(AccessRule.LISTED, names=("alice", "carol")), 1000, NUMBERS.get)


def test_a_refused_user_gets_the_name_of_the_proxy_s_user():
    with pytest.raises(ForbiddenClientError, match="belongs to user 1000, and user 1001 may not"):
        check_user(1001, Users(1000))
