import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppmproxy.index.routing import ResourceKind
from ppmproxy.server.headers import DECODABLE, to_client, to_upstream

ALWAYS = {"accept", "cache-control", "if-none-match", "if-modified-since", "user-agent", "accept-encoding"}
CROSSING = {
    (ResourceKind.INDEX_PAGE, "GET"): ALWAYS,
    (ResourceKind.FILE, "GET"): ALWAYS | {"range", "if-range"},
    (ResourceKind.OTHER, "GET"): ALWAYS | {"range", "if-range"},
    (ResourceKind.API, "GET"): ALWAYS | {"range", "if-range"},
    (ResourceKind.API, "POST"): ALWAYS | {"range", "if-range", "content-type", "content-length"},
    (ResourceKind.UPLOAD, "GET"): ALWAYS | {"range", "if-range"},
    (ResourceKind.UPLOAD, "POST"): ALWAYS | {"range", "if-range", "content-type", "content-length"},
}
NOT_CROSSING = [
    "Authorization",
    "Proxy-Authorization",
    "Cookie",
    "Cookie2",
    "Host",
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Real-IP",
    "Via",
    "Origin",
    "Referer",
    "X-HTTP-Method-Override",
    "Connection",
    "Keep-Alive",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "Expect",
    "Content-Encoding",
    "X-Api-Key",
]


def names(headers):
    return [name.lower() for name, _ in headers]


def value(headers, wanted):
    return [value for name, value in headers if name.lower() == wanted.lower()]


# --- to the upstream --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NOT_CROSSING)
@pytest.mark.parametrize(("kind", "method"), CROSSING)
def test_no_credential_cookie_or_forwarding_header_of_the_client_leaves(kind, method, name):
    assert names(to_upstream([(name, "x"), (name.upper(), "y")], kind, method)) == ["accept-encoding"]


@pytest.mark.parametrize(("kind", "method"), CROSSING)
def test_only_headers_of_the_list_for_its_kind_are_sent_upstream(kind, method):
    everything = [(name.title(), f"value of {name}") for name in sorted(CROSSING[ResourceKind.UPLOAD, "POST"])]

    sent = to_upstream(everything, kind, method)

    assert set(names(sent)) == CROSSING[kind, method]
    assert all(pair in everything for pair in sent if pair[0] != "Accept-Encoding")


@given(
    st.lists(
        st.tuples(
            st.one_of(
                st.sampled_from(sorted(CROSSING[ResourceKind.UPLOAD, "POST"])).map(str.title),
                st.sampled_from(NOT_CROSSING),
                st.text(string.ascii_letters + "-", min_size=1, max_size=12),
            ),
            st.text(string.printable, max_size=12),
        ),
        max_size=12,
    ),
    st.sampled_from(list(CROSSING)),
)
def test_only_allow_listed_names_cross_and_their_values_are_not_touched(given_headers, of):
    kind, method = of

    sent = to_upstream(given_headers, kind, method)

    assert set(names(sent)) <= CROSSING[kind, method]
    assert names(sent).count("accept-encoding") == 1
    assert all(pair in given_headers for pair in sent[:-1])


def test_a_length_goes_only_where_a_body_goes_or_the_next_request_would_be_taken_for_it():
    client = [("Content-Length", "50"), ("Content-Type", "application/json")]

    for kind in ResourceKind:
        assert names(to_upstream(client, kind, "GET")) == ["accept-encoding"]
        assert names(to_upstream(client, kind, "HEAD")) == ["accept-encoding"]
    assert value(to_upstream(client, ResourceKind.UPLOAD, "POST"), "content-length") == ["50"]


def test_a_page_is_never_asked_for_in_part():
    sent = to_upstream([("Range", "bytes=0-1"), ("If-Range", '"x"')], ResourceKind.INDEX_PAGE, "GET")

    assert names(sent) == ["accept-encoding"]


def test_repeated_headers_stay_repeated_and_in_their_order():
    client = [("Accept", "a/b"), ("User-Agent", "pip/26.3"), ("ACCEPT", "c/d")]

    assert to_upstream(client, ResourceKind.OTHER, "GET")[:-1] == client


@pytest.mark.parametrize("connection", ["If-None-Match", "close, if-none-match", "IF-NONE-MATCH ,x"])
def test_headers_that_the_client_nominates_in_connection_are_not_sent_upstream(connection):
    client = [("If-None-Match", '"x"'), ("Connection", connection), ("User-Agent", "uv")]

    assert names(to_upstream(client, ResourceKind.FILE, "GET")) == ["user-agent", "accept-encoding"]


@pytest.mark.parametrize(
    ("kind", "asked", "sent"),
    [
        (ResourceKind.FILE, ["gzip, deflate"], "identity"),
        (ResourceKind.FILE, [], "identity"),
        (ResourceKind.INDEX_PAGE, [], "identity"),
        (ResourceKind.INDEX_PAGE, [""], "identity"),
        (ResourceKind.INDEX_PAGE, ["gzip, deflate"], "gzip, deflate"),
        (ResourceKind.INDEX_PAGE, ["gzip, deflate, zstd"], "gzip, deflate"),
        (ResourceKind.INDEX_PAGE, ["gzip", "br", "deflate"], "gzip, deflate"),
        (ResourceKind.INDEX_PAGE, ["br, zstd"], "identity"),
        (ResourceKind.INDEX_PAGE, ["*"], "identity"),
        (ResourceKind.INDEX_PAGE, ["GZip;q=0.5 , br;q=1"], "GZip;q=0.5"),
        (ResourceKind.INDEX_PAGE, ["gzip;q=0, deflate;q=1"], "deflate;q=1"),
        (ResourceKind.INDEX_PAGE, ["gzip; Q=0.000, deflate ; q = 0"], "identity"),
        (ResourceKind.INDEX_PAGE, ["gzip;q=0.001"], "gzip;q=0.001"),
        (ResourceKind.INDEX_PAGE, ["gzipx, xgzip, gzip-9"], "identity"),
        (ResourceKind.OTHER, ["br, zstd", "gzip;q=0"], "br, zstd,gzip;q=0"),
        (ResourceKind.OTHER, [], "identity"),
        (ResourceKind.API, ["gzip"], "gzip"),
    ],
)
def test_pages_are_requested_in_codings_that_both_can_decode_and_files_in_none(kind, asked, sent):
    client = [("accept-encoding", item) for item in asked]

    assert value(to_upstream(client, kind, "GET"), "Accept-Encoding") == [sent]


@given(st.lists(st.text("gzipdeflatbrs*;q=01. ,", max_size=20), max_size=3))
def test_a_page_is_never_asked_for_in_a_coding_that_cannot_be_decoded_or_was_refused(asked):
    (sent,) = value(
        to_upstream([("Accept-Encoding", item) for item in asked], ResourceKind.INDEX_PAGE, "GET"), "Accept-Encoding"
    )

    for coding in sent.split(", "):
        name, _, weight = coding.partition(";")
        assert name.strip().lower() in {*DECODABLE, "identity"}
        assert weight.replace(" ", "") not in {"q=0", "q=0.", "q=0.0", "q=0.00"}


# --- to the client ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "Set-Cookie",
        "Set-Cookie2",
        "WWW-Authenticate",
        "Proxy-Authenticate",
        "Authentication-Info",
        "Strict-Transport-Security",
        "Alt-Svc",
        "Access-Control-Allow-Origin",
        "Clear-Site-Data",
        "Refresh",
    ],
)
@pytest.mark.parametrize("write", [str, str.upper, str.lower])
def test_hop_by_hop_and_session_and_browser_headers_are_not_sent_to_the_client(name, write):
    assert to_client([(write(name), "x"), ("ETag", '"e"'), (write(name), "y")]) == [("ETag", '"e"')]


@pytest.mark.parametrize(
    "name",
    [
        "Access-Control-Allow-Origin",
        "Access-Control-Allow-Credentials",
        "Access-Control-Allow-Private-Network",
        "Access-Control-Expose-Headers",
        "Clear-Site-Data",
        "Cross-Origin-Resource-Policy",
        "NEL",
        "Refresh",
        "Report-To",
        "Service-Worker-Allowed",
        "Timing-Allow-Origin",
        "X-Content-Type-Options",
    ],
)
def test_headers_for_browsers_are_not_sent_to_the_client(name):
    assert to_client([(name, "x"), ("ETag", '"e"'), (name.lower(), "y")]) == [("ETag", '"e"')]


def test_everything_else_comes_back_as_it_is():
    upstream = [
        ("X-Repository-Type", "Python"),
        ("X-Package-Binary-Tag", "4.3-jammy"),
        ("Content-Type", "application/octet-stream"),
        ("Content-Length", "7"),
        ("Content-Encoding", "gzip"),
        ("ETag", 'W/"x"'),
        ("Last-Modified", "Sat, 01 Jan 2022 00:00:00 GMT"),
        ("Vary", "Accept"),
        ("vary", "Accept-Encoding"),
        ("X-Anything", "\u00e4"),
        ("Link", "<https://pm.example.com/>; rel=x"),
        ("Accept-Ranges", "bytes"),
    ]

    assert to_client(upstream) == upstream


@pytest.mark.parametrize("connection", ["X-Hop", "close, x-hop", " X-HOP ,keep-alive"])
def test_headers_that_the_upstream_nominates_in_connection_are_not_sent_to_the_client(connection):
    upstream = [("x-hop", "1"), ("X-Hop-Too", "2"), ("connection", connection)]

    assert to_client(upstream) == [("X-Hop-Too", "2")]


def test_a_rewritten_body_loses_the_headers_that_describe_the_old_one():
    about_the_bytes = ["Content-Length", "Content-Encoding", "Accept-Ranges", "Content-MD5", "Digest", "Repr-Digest"]
    kept = [("ETag", '"e"'), ("Content-Type", "text/html"), ("Cache-Control", "max-age=600")]

    assert to_client([*((name, "x") for name in about_the_bytes), *kept], is_rewritten=True) == kept


def test_a_length_beside_chunks_is_not_believed():
    assert to_client([("Content-Length", "7"), ("Transfer-Encoding", "chunked")]) == []


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("0", "0"),
        ("5", "5"),
        ("10", "10"),
        ("11", "10"),
        ("3600", "10"),
        ("0003", "3"),
        ("9" * 50, "10"),
        ("Fri, 31 Dec 2099 23:59:59 GMT", "10"),
        ("Thu, 01 Jan 1970 00:00:00 GMT", "10"),
        ("1.5", "10"),
        ("-1", "10"),
        ("", "10"),
        ("\u0665", "10"),
        ("\u00b2", "10"),
        ("soon", "10"),
    ],
)
def test_retry_after_is_ten_seconds_at_most(said, told):
    assert to_client([("retry-after", said)]) == [("retry-after", told)]


@given(st.text(max_size=30))
def test_every_retry_after_becomes_a_small_number(said):
    ((_, told),) = to_client([("Retry-After", said)])

    assert 0 <= int(told) <= 10


@pytest.mark.parametrize(
    ("upstream", "is_page", "cache_control"),
    [
        ([("Last-Modified", "x")], True, ["no-cache"]),
        ([("Last-Modified", "x")], False, []),
        ([("cache-control", "max-age=600")], True, ["max-age=600"]),
        ([("Cache-Control", "x"), ("Connection", "cache-control")], True, ["no-cache"]),
    ],
)
def test_a_page_always_says_how_long_it_may_be_kept(upstream, is_page, cache_control):
    assert value(to_client(upstream, is_page=is_page), "Cache-Control") == cache_control


@given(
    st.lists(
        st.tuples(st.text(string.ascii_letters + "-", min_size=1, max_size=20), st.text(string.printable, max_size=20)),
        max_size=10,
    ),
    st.booleans(),
    st.booleans(),
)
def test_nothing_comes_back_that_the_upstream_did_not_say(upstream, rewritten, is_page):
    told = to_client(upstream, is_rewritten=rewritten, is_page=is_page)

    for name, text in told:
        assert (name, text) in [*upstream, ("Cache-Control", "no-cache")] or name.lower() == "retry-after"


@pytest.mark.parametrize("length", ["****", "", "-1", "\u0661"])
def test_a_length_that_is_no_number_is_dropped(length):
    assert to_client([("Content-Length", length), ("content-length", "7")]) == [("content-length", "7")]
