import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppmproxy.auth.credential import Credential
from ppmproxy.auth.origin import Origin
from ppmproxy.auth.policy import REFUSALS, Scheme, authorization_for, may_carry_token, schemes_to_try
from ppmproxy.auth.secret import Secret
from ppmproxy.config.model import Upstream

ROOT = Upstream(url="https://pm.example.com", configured=True)
BELOW = Upstream(url="https://pm.example.com/rspm", configured=True)
ON_PORT = Upstream(url="http://[::1]:8080/rspm", configured=True)
TOKEN = Credential.of_secret(Secret("abc.def-123"), "a test")


@pytest.mark.parametrize(
    ("upstream", "url"),
    [
        (ROOT, "https://pm.example.com"),
        (ROOT, "https://pm.example.com/"),
        (ROOT, "https://pm.example.com?q=1"),
        (ROOT, "https://pm.example.com:443/pypi/latest/simple/"),
        (ROOT, "HTTPS://PM.EXAMPLE.COM/pypi"),
        (ROOT, "https://pm.example.com/pypi/a%2Bb;c@d/%7Ex?next=../../x%2f..#f"),
        (BELOW, "https://pm.example.com/rspm"),
        (BELOW, "https://pm.example.com/rspm/"),
        (BELOW, "https://pm.example.com/rspm?x"),
        (BELOW, "https://pm.example.com/rspm/pypi/latest/simple/"),
        (ON_PORT, "http://[::1]:8080/rspm/x"),
    ],
)
def test_the_token_goes_to_the_upstream_at_or_below_its_base(upstream, url):
    assert may_carry_token(url, upstream.url)


@pytest.mark.parametrize(
    "url",
    [
        "http://pm.example.com/rspm/x",
        "http://pm.example.com:443/rspm/x",
        "https://pm.example.com:8443/rspm/x",
        "https://pm.example.com./rspm/x",
        "https://sub.pm.example.com/rspm/x",
        "https://pm.example.com.evil.com/rspm/x",
        "https://evil.com/rspm/x",
        "https://evil.com/https://pm.example.com/rspm/x",
        "https://pm.example.com@evil.com/rspm/x",
        "https://evil.com#@pm.example.com/rspm/x",
        "https://evil.com?@pm.example.com/rspm/x",
        "//pm.example.com/rspm/x",
        "/rspm/x",
        "",
        "not a url",
        "https://pm.example.com:x/rspm/x",
        "https://[pm.example.com/rspm/x",
        "ftp://pm.example.com/rspm/x",
    ],
)
def test_the_token_goes_to_no_other_server(url):
    assert not may_carry_token(url, BELOW.url)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/rspm-evil",
        "/rspm-evil/x",
        "/rspmx",
        "/RSPM/x",
        "/%72spm/x",
        "/rspm;x/y",
        "//rspm/x",
        "/x/rspm/y",
        "/rspm/../x",
        "/rspm/..",
        "/rspm/./x",
        "/rspm/%2e%2e/x",
        "/rspm/%2E./x",
        "/rspm/%252e%252e/x",
        "/rspm/..;/x",
        "/rspm/..;a=b/x",
        "/rspm/%2e%2e%3b/x",
        "/rspm/..%2fx",
        "/rspm/..%252fx",
        "/rspm/..\\x",
        "/rspm/..%5cx",
        "/rspm/%c0%ae%c0%ae/x",
        "/rspm/a\x00b",
        "/rspm/a%00b",
        "/rspm/a%0d%0ab",
        "/rspm/%" + "25" * 10 + "2e/x",
    ],
)
def test_the_token_goes_to_no_path_that_may_be_outside_the_base(path):
    assert not may_carry_token("https://pm.example.com" + path, BELOW.url)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.com\\@pm.example.com/rspm/x",
        "https://pm.example.com\\.evil.com/rspm/x",
        "https://user:password@pm.example.com/rspm/x",
        "https://@pm.example.com/rspm/x",
        "https://pm.exam\tple.com/rspm/x",
        "https://pm.example.com/rs\npm/x",
        "https://pm.example.com/rspm/x\r\nX-Header: y",
        " https://pm.example.com/rspm/x",
        "\x00https://pm.example.com/rspm/x",
        "https://pm.example.com/rspm/x y",
    ],
)
def test_the_token_goes_to_no_url_that_two_parsers_could_read_in_two_ways(url):
    assert not may_carry_token(url, BELOW.url)


@pytest.mark.parametrize(
    ("scheme", "header"),
    [
        (Scheme.BEARER, "Bearer abc.def-123"),
        (Scheme.AUTO, "Bearer abc.def-123"),
        (Scheme.BASIC, "Basic " + base64.b64encode(b"__token__:abc.def-123").decode()),
    ],
)
def test_the_token_is_written_as_the_scheme_says(scheme, header):
    assert authorization_for("https://pm.example.com/rspm/pypi", BELOW.url, TOKEN, scheme) == header


def test_basic_takes_the_user_name_that_came_with_the_token():
    credential = Credential.of_secret(Secret("abc"), "a test", user="alice")

    header = authorization_for("https://pm.example.com/rspm/", BELOW.url, credential, Scheme.BASIC)

    assert header == "Basic " + base64.b64encode(b"alice:abc").decode()


@pytest.mark.parametrize("scheme", Scheme)
def test_there_is_no_authorization_without_a_credential_or_outside_the_upstream(scheme):
    assert authorization_for("https://pm.example.com/rspm/", BELOW.url, None, scheme) is None
    assert authorization_for("https://pm.example.com/other/", BELOW.url, TOKEN, scheme) is None
    assert authorization_for("https://s3.example.com/rspm/", BELOW.url, TOKEN, scheme) is None


@pytest.mark.parametrize(
    ("configured", "remembered", "tried"),
    [
        (Scheme.AUTO, None, (Scheme.BEARER, Scheme.BASIC)),
        (Scheme.AUTO, Scheme.BASIC, (Scheme.BASIC,)),
        (Scheme.AUTO, Scheme.BEARER, (Scheme.BEARER,)),
        (Scheme.BASIC, None, (Scheme.BASIC,)),
        (Scheme.BASIC, Scheme.BEARER, (Scheme.BASIC,)),
        (Scheme.BEARER, Scheme.BASIC, (Scheme.BEARER,)),
    ],
)
def test_bearer_is_tried_before_basic_and_the_accepted_scheme_alone_afterwards(configured, remembered, tried):
    assert schemes_to_try(configured, remembered) == tried


def test_401_403_and_404_count_as_refusals():
    assert {401, 403, 404} == REFUSALS


HOSTS = [
    "pm.example.com",
    "PM.example.com",
    "evil.com",
    "pm.example.com.evil.com",
    "u@pm.example.com",
    "pm.example.com:443",
]
PIECES = ["/", "/rspm", "rspm", "..", "%2e", "%2f", "%25", ";", "\\", "@", "evil", "?", "#", ".", "\t", " ", "//", ":"]


@given(
    scheme=st.sampled_from(["https://", "http://", "//", "https:", ""]),
    host=st.sampled_from(HOSTS),
    rest=st.lists(st.sampled_from(PIECES), max_size=8).map("".join),
    upstream=st.sampled_from([ROOT, BELOW]),
)
def test_a_url_that_carries_the_token_names_the_upstream_and_its_base_literally(scheme, host, rest, upstream):
    url = scheme + host + rest

    if may_carry_token(url, upstream.url):
        authority, _, path = url.partition("://")[2].partition("?")[0].partition("#")[0].partition("/")
        segments = path.split("/")
        assert Origin.of(url) == upstream.origin
        assert authority.lower() in {"pm.example.com", "pm.example.com:443", "pm.example.com:"}
        assert upstream is ROOT or segments[0] == "rspm"
        assert not {".", ".."} & set(segments)
