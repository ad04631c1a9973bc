from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppmproxy.auth.origin import Origin
from ppmproxy.config.local_address import AutoListen, TcpAddress, UnixAddress
from ppmproxy.config.location import Layer, Location
from ppmproxy.config.network import ALLOWED_HOSTS, FILE_HOSTS, HEADERS, LISTEN, MOUNT, PROXY, URL, host_of, masked_proxy
from ppmproxy.errors import ConfigError

HOME = Path("/home/alice")
IN_FILE = Location(Layer.FILE, "config.toml", HOME, ("key",))
BY_FLAG = Location(Layer.FLAG, "--key", HOME)


def message(kind, value, location=IN_FILE):
    with pytest.raises(ConfigError) as caught:
        kind.parse(value, location)
    assert caught.value.hint
    return f"{caught.value}\n{caught.value.hint}"


# --- listen ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:7760", TcpAddress("127.0.0.1", 7760)),
        ("[::1]:7760", TcpAddress("::1", 7760)),
        ("[0:0:0:0:0:0:0:1]:7760", TcpAddress("::1", 7760)),
        ("LocalHost:0", TcpAddress("localhost", 0)),
        ("127.0.0.1:65535", TcpAddress("127.0.0.1", 65535)),
        ("0.0.0.0:7760", TcpAddress("0.0.0.0", 7760)),
        ("unix:/run/ppmproxy.sock", UnixAddress(Path("/run/ppmproxy.sock"))),
        ("unix:~/ppmproxy.sock", UnixAddress(HOME / "ppmproxy.sock")),
    ],
)
def test_an_address_to_listen_on(text, address):
    assert LISTEN.parse([text], IN_FILE) == (address,)


@pytest.mark.parametrize(
    "text",
    [
        "", "7760", ":7760", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:x", "::1:7760",
        "[::1]", "[::1:7760", "[127.0.0.1]:7760", "*:7760", "a b:1", "http://127.0.0.1:7760", "127.0.0.1:٣",
        "unix:", "unix:run/x.sock", "unix:~bob/x", "unix:/run/", "unix:@abstract", "a..b:1", "-a:1",
    ],
)  # fmt: skip
def test_an_invalid_listen_address_is_refused(text):
    assert message(LISTEN, [text]).startswith("config.toml: key[1] ")


def test_listening_nowhere_is_refused():
    assert "is empty" in message(LISTEN, [])


@pytest.mark.parametrize("twice", [["127.0.0.1:1", "127.0.0.1:1"], ["[::1]:1", "127.0.0.1:1", "[0::1]:1"]])
def test_the_same_address_twice_is_refused(twice):
    assert "twice" in message(LISTEN, twice)


def test_listen_addresses_print_as_they_are_written():
    addresses = LISTEN.parse(["127.0.0.1:1", "unix:/x"], IN_FILE)

    assert LISTEN.format(addresses) == '["127.0.0.1:1", "unix:/x"]'


# --- hosts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("PM.example.com", "pm.example.com"),
        ("pm.example.com.", "pm.example.com."),
        ("my_host", "my_host"),
        ("[0::1]", "::1"),
        ("", None),
        ("a..b", None),
        (".a", None),
        ("a b", None),
        ("a/b", None),
        ("ä.example", None),
        ("[127.0.0.1]", None),
        ("[", None),
        ("::1", None),
    ],
)
def test_a_host_is_a_name_or_an_address(text, host):
    assert host_of(text) == host


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Proxy.internal", "proxy.internal"),
        ("proxy:7760", "proxy:7760"),
        ("10.0.0.1", "10.0.0.1"),
        ("[0::2]:80", "[::2]:80"),
        ("[::2]", "[::2]"),
    ],
)
def test_an_allowed_host_is_exact(text, expected):
    assert ALLOWED_HOSTS.parse([text, text], IN_FILE) == (expected,)


@pytest.mark.parametrize("text", ["*", "*.example.com", ".example.com", "http://a", "a/b", "::1", "a:99999", "", "a,b"])
def test_a_pattern_is_no_allowed_host(text):
    assert "key[1]" in message(ALLOWED_HOSTS, [text])


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("files.example.com", Origin("https", "files.example.com", 443)),
        ("files.example.com:8443", Origin("https", "files.example.com", 8443)),
        ("https://files.example.com/", Origin("https", "files.example.com", 443)),
        ("http://files.example.com", Origin("http", "files.example.com", 80)),
        ("[::2]:8443", Origin("https", "::2", 8443)),
    ],
)
def test_a_file_host_is_an_origin(text, origin):
    assert FILE_HOSTS.parse([text], IN_FILE) == (origin,)


@pytest.mark.parametrize("text", ["", "*.example.com", "https://a/path", "https://u@a", "ftp://a", "a?b", "a:0", "a b"])
def test_a_url_with_a_path_is_no_file_host(text):
    assert "key[1]" in message(FILE_HOSTS, [text])


# --- upstream URL ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://pm.example.com", "https://pm.example.com"),
        ("HTTPS://PM.Example.COM:443/", "https://pm.example.com"),
        ("https://pm.example.com:8443/RSPM/", "https://pm.example.com:8443/RSPM"),
        ("https://pm.example.com/a%20b/~c", "https://pm.example.com/a%20b/~c"),
        ("https://[0::2]:443/x", "https://[::2]/x"),
        ("https://pm.example.com:/x", "https://pm.example.com/x"),
        ("https://pm.example.com/simple", "https://pm.example.com/simple"),
        ("http://localhost:4242/rspm", "http://localhost:4242/rspm"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://[::1]:4242", "http://[::1]:4242"),
    ],
)
def test_an_upstream_url_is_normalised_except_for_its_path(text, url):
    assert URL.parse(text, IN_FILE) == url


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "is empty"),
        ("pm.example.com", 'is "pm.example.com", without a scheme\nwrite https://pm.example.com'),
        ("//pm.example.com", "without a scheme\nwrite https://pm.example.com"),
        ("ftp://pm.example.com", "whose scheme ftp is not http or https"),
        ("htps://pm.example.com/rspm", "whose scheme htps is not http or https\nwrite https://pm.example.com/rspm"),
        ("s3cret-0123456789-token", "without a scheme"),
        ("https://", "whose host or port is not valid"),
        ("https:///path", "whose host or port is not valid"),
        ("https://pm.example.com:0", "whose host or port is not valid"),
        ("https://pm.example.com:99999", "whose host or port is not valid"),
        ("https://pm.example.com:x", "whose host or port is not valid"),
        ("https://[fe80::1%eth0]", "whose host or port is not valid"),
        ("https://[::1", "whose host or port is not valid"),
        ("https:/pm.example.com", "without two slashes after https:"),
        ("https://__token__:s3cret@pm.example.com", "contains a user name or password"),
        ("https://s3cret@pm.example.com", "contains a user name or password"),
        ("https://pm.example.com?token=s3cret", "has a query or a fragment"),
        ("https://pm.example.com/#", "has a query or a fragment"),
        ("https://pm.example.com\\@evil.example", "contains a backslash"),
        ("https://pm.example.com/a b", 'is "https://pm.example.com/a b", which contains a space'),
        ("https://pm.exämple.com", "contains the character '\\xe4'"),
        ("https://pm.example.com/\na", "control character"),
        ("https://pm.example.com/pypi/latest/simple/", "the URL of an index instead of"),
        ("https://pm.example.com/rspm/pypi/2026-01-02/simple", "the URL of an index instead of"),
        ("https://pm.example.com/a/../b", "path has . or .."),
        ("https://pm.example.com/./b", "has . or .."),
        ("https://pm.example.com/a//b", "an empty segment"),
        ("https://pm.example.com/%2E%2e/b", "%-escape"),
        ("https://pm.example.com/a%2fb", "%-escape"),
        ("https://pm.example.com/a%5cb", "%-escape"),
        ("https://pm.example.com/a%0db", "%-escape"),
        ("https://pm.example.com/a%zz", "%-escape"),
        ("http://pm.example.com", "unencrypted"),
        ("http://127.0.0.1.example.com", "unencrypted"),
        ("http://10.0.0.1", "unencrypted"),
        ("http://0.0.0.0", "unencrypted"),
        ("http://127.1", "unencrypted"),
    ],
)
def test_an_ambiguous_or_unsafe_upstream_url_is_refused_and_not_quoted(text, what):
    said = message(URL, text)

    assert what in said
    assert "s3cret" not in said


def test_the_hint_for_a_url_with_a_token_says_where_the_token_goes():
    assert 'from = "file"' in message(URL, "https://__token__:x@pm.example.com")


@given(st.text(st.sampled_from("htps:/@[]%.?#\\ a1:"), max_size=20).map("https://".__add__))
def test_a_url_that_is_accepted_is_accepted_again_as_the_same(text):
    try:
        url = URL.parse(text, IN_FILE)
    except ConfigError:
        return

    assert URL.parse(url, IN_FILE) == url
    assert str(Origin.of(url)) + url[len(str(Origin.of(url))) :] == url


# --- proxy ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "proxy", "shown"),
    [
        ("environment", "environment", '"environment"'),
        ("none", "none", '"none"'),
        ("http://Proxy:3128/", "http://proxy:3128", '"http://proxy:3128"'),
        ("https://proxy", "https://proxy", '"https://proxy"'),
        ("http://u:p%40@proxy:3128", "http://u:p%40@proxy:3128", '"http://****@proxy:3128"'),
    ],
)
def test_a_proxy_is_a_word_or_a_url_and_prints_without_its_password(text, proxy, shown):
    assert PROXY.parse(text, IN_FILE) == proxy
    assert PROXY.format(proxy) == shown
    assert f'"{masked_proxy(proxy)}"' == shown


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "is empty"),
        ("off", "not environment, none or the URL"),
        ("proxy:3128", "not environment, none or the URL"),
        ("socks5://proxy:1080", "not an http or https proxy"),
        ("http://proxy:3128/path", "has a path"),
        ("http://u:s3cret@proxy:x", "whose host or port is not valid"),
        ("http://u:s3cret@proxy:3128/?", "has a query"),
    ],
)
def test_another_kind_of_proxy_is_refused(text, what):
    said = message(PROXY, text)

    assert what in said
    assert "s3cret" not in said


def test_a_proxys_password_is_never_a_flag():
    assert "set PPMPROXY_PROXY instead" in message(PROXY, "http://u:s3cret@proxy:3128", BY_FLAG)


# --- mounts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "mount"),
    [("/", "/"), ("/lab", "/lab"), ("/lab/", "/lab"), ("/a/b.c_d~e-f", "/a/b.c_d~e-f"), ("/-a", "/-a")],
)
def test_a_mount_has_no_slash_at_its_end(text, mount):
    assert MOUNT.parse(text, IN_FILE) == mount


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lab",
        "//",
        "/a//b",
        "/a//",
        "/..",
        "/a/../b",
        "/.",
        "/a%20b",
        "/a b",
        "/ä",
        "/a?b",
        "/a#b",
        "/a\\b",
        "/a\nb",
    ],
)
def test_an_ambiguous_mount_is_refused(text):
    message(MOUNT, text)


@pytest.mark.parametrize("text", ["/-", "/-/", "/-/status", "/-/x/"])
def test_the_proxys_own_pages_are_no_mount(text):
    assert "own pages" in message(MOUNT, text)


# --- headers --------------------------------------------------------------------------------------------------------


def test_headers_keep_their_order_and_print_masked():
    headers = HEADERS.parse({"X-B": " two words ", "X-A": ""}, IN_FILE)

    assert headers == (("X-B", "two words"), ("X-A", ""))
    assert HEADERS.format(headers) == '{ "X-B" = "****", "X-A" = "****" }'
    assert HEADERS.format(()) == "{}"


@pytest.mark.parametrize(
    "name",
    [
        "Authorization", "proxy-authorization", "Cookie", "HOST", "Content-Length", "Connection", "Keep-Alive", "TE",
        "Trailer", "Transfer-Encoding", "Upgrade", "Proxy-Connection", "Range", "If-Range", "If-None-Match",
        "if-modified-since", "Accept-Encoding",
    ],
)  # fmt: skip
def test_a_header_that_the_proxy_sets_is_refused(name):
    said = message(HEADERS, {name: "s3cret"})

    assert "cannot be a fixed header" in said
    assert name in said
    assert "s3cret" not in said


@pytest.mark.parametrize(
    ("headers", "what"),
    [
        ({"": "a"}, "is not a header's name"),
        ({"X Y": "a"}, "is not a header's name"),
        ({"X:": "a"}, "is not a header's name"),
        ({"X\r\nY": "a"}, "is not a header's name"),
        ({"Ä": "a"}, "is not a header's name"),
        ({"X": "s3cret\r\nY: b"}, "control character"),
        ({"X": "s3cret\0"}, "control character"),
        ({"X": "s3crét"}, "beyond ASCII"),
        ({"X": 1}, "must be a string, not a whole number"),
        ({"X": ["a"]}, "must be a string, not a list"),
        ({"X-A": "a", "x-a": "b"}, "names a header twice"),
        (["X: a"], "must be a table, not a list"),
    ],
)
def test_a_header_that_would_break_the_request_is_refused(headers, what):
    said = message(HEADERS, headers)

    assert what in said
    assert "s3cr" not in said
    assert "\r" not in said


@pytest.mark.parametrize("value", ["auto", ["auto"]])
def test_auto_listens_on_both_families(value):
    listen = LISTEN.parse(value, IN_FILE)

    assert isinstance(listen, AutoListen)
    assert [str(address) for address in listen] == ["127.0.0.1:7760", "[::1]:7760"]
    assert LISTEN.format(listen) == '"auto"'
    assert LISTEN.format(tuple(listen)) == '["127.0.0.1:7760", "[::1]:7760"]'
