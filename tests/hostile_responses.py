"""Hostile responses of an upstream as bytes: heads, pages, error bodies, and the answers to a sign-in.

They are fair responses with parts put in that some parser has failed on: numbers with thousands of digits, numbers that
are none, references to no character, half URLs, nesting without end, codings and lengths that are not true.
"""

from __future__ import annotations

import gzip
import json
import zlib

from hypothesis import strategies as st

# --- pieces ---

NUMBERS = [
    *(b"0", b"-1", b"5", b"0.5", b"1e400", b"-1e400", b"1e-400", b"NaN", b"Infinity", b"-Infinity", b"true", b"null"),
    *(b"1" + b"0" * 400, b"9" * 5000, b"-" + b"9" * 5000, b"1e99999999999", b"0." + b"0" * 5000 + b"1", b"[]", b"{}"),
    *(b"1e308", b"99999999999999999999", b'"5"', b'"' + b"9" * 5000 + b'"'),
]
TEXTS = [
    *("", "a", "\x00", "\x1b[31m", "\u202e", "é", "A" * 70_000, "//", "..", "#", "?", "\\", "%", "%zz", "%25" * 50),
    *(f"&#{'9' * 5000};", f"&#x{'f' * 5000};", "&#xd800;", "&#1114112;", "&#", "&#x;", "&" * 500, "&amp" * 50),
    *(
        "http://[",
        "https://[::1",
        "http://[::1]:x/",
        "http://a:99999999999/",
        "http://a:b@c:d@e/",
        "javascript:alert(1)",
    ),
    *(
        "http:",
        "https:///x",
        "//[",
        "http://\u212a/",
        "http://a\u2100b/",
        "http://xn--\xff/",
        "data:,",
        "http://.",
        "ftp://a/b",
    ),
    *(
        "../../../__api__/tokens",
        "/-/status",
        "https://127.0.0.1/%2e%2e/",
        "https://127.0.0.1:99999/",
        "\ud800",
        "\udfff\ud800",
    ),
]
RAW = [
    b"\xff\xfe",
    b"\x00" * 20,
    b"\xed\xa0\x80",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"<" * 5000,
    b'"',
    b"\\u",
    b"\\ud800",
]
WORDS = [b"no", b"there is no such package", b"blocked by policy", b"<h1>Not Found</h1>", b'{"error": "no"}']


def _json(text: str) -> bytes:
    return json.dumps(text).encode()


VALUES = st.one_of(st.sampled_from(NUMBERS), st.sampled_from([_json(text) for text in TEXTS]), st.sampled_from(RAW))


def _document(fair: dict[str, bytes]) -> st.SearchStrategy[bytes]:
    """A JSON object, with some of its values put in place of fair ones, and some left out."""
    changes = st.dictionaries(st.sampled_from(sorted(fair)), st.one_of(st.none(), VALUES), max_size=3)
    return st.one_of(
        changes.map(lambda changed: _written({**fair, **changed})), st.sampled_from([*RAW, b"", b"{}", b"7"])
    )


def _written(pairs: dict[str, bytes | None]) -> bytes:
    return b"{" + b", ".join(_json(key) + b": " + value for key, value in pairs.items() if value is not None) + b"}"


# --- bodies ---

HREFS = st.sampled_from([
    *(text.encode("utf-8", "surrogatepass") for text in TEXTS),
    *(b"hello-1.0-py3-none-any.whl#sha256=00", b"/pypi/latest/packages/x/hello.whl", b"../../packages/x/hello.whl"),
])  # fmt: skip
NAMES = st.sampled_from(
    [b"href", b"data-provenance", b"data-requires-python", b"data-yanked", b"content", b"rel", b"x" * 3000]
)
QUOTES = st.sampled_from([(b'"', b'"'), (b"'", b"'"), (b"", b""), (b'"', b""), (b"'", b'"')])
ATTRIBUTES = st.builds(lambda name, quotes, value: name + b"=" + quotes[0] + value + quotes[1], NAMES, QUOTES, HREFS)
TAGS = st.builds(
    lambda name, attributes, end: b"<" + name + b" " + b" ".join(attributes) + end,
    st.sampled_from([b"a", b"base", b"meta", b"link", b"script", b"style", b"title", b"!--", b"!DOCTYPE", b"/a", b""]),
    st.lists(ATTRIBUTES, max_size=3),
    st.sampled_from([b">", b">", b">x</a>", b"/>", b"", b"-->", b"</script>"]),
)  # fmt: skip
HTML = st.lists(st.one_of(TAGS, st.sampled_from([*RAW, *WORDS]), HREFS), max_size=6).map(
    lambda parts: b"<!DOCTYPE html><html><body>" + b"\n".join(parts) + b"</body></html>"
)
FILE = _document({
    "filename": b'"hello-1.0-py3-none-any.whl"',
    "url": b'"/pypi/latest/packages/x/hello-1.0-py3-none-any.whl"',
    "hashes": b'{"sha256": "00"}',
    "provenance": b'"https://127.0.0.1/provenance"',
    "size": b"7",
    "core-metadata": b"true",
    "yanked": b"false",
})  # fmt: skip
INDEX = st.builds(
    lambda page, files: page.replace(b'"FILES"', b"[" + b", ".join(files) + b"]"),
    _document({"meta": b'{"api-version": "1.1"}', "name": b'"hello"', "files": b'"FILES"', "versions": b'["1.0"]'}),
    st.lists(FILE, max_size=3),
)
ERROR = st.lists(st.one_of(st.sampled_from([*WORDS, *RAW]), HREFS, TAGS), max_size=4).map(b" ".join)
STATUS = _document({"version": b'"2026.11.0"', "sso_enabled": b"true"})
GRANT = _document({
    "device_code": b'"a-device-code-of-thirty-letters"',
    "user_code": b'"BCDF-GHJK"',
    "verification_uri": b'"https://127.0.0.1/device"',
    "verification_uri_complete": b'"https://127.0.0.1/device?user_code=BCDF-GHJK"',
    "interval": b"1",
    "expires_in": b"300",
})  # fmt: skip
IDENTITY = _document({"id_token": b'"e30.eyJhdWQiOiJwcG0ifQ.c2lnbmF0dXJl"', "error": b'""', "error_description": b'""'})
REFUSED = st.builds(
    lambda error, words: _written({"error": error, "error_description": words}),
    st.one_of(
        st.sampled_from([b'"authorization_pending"', b'"slow_down"', b'"access_denied"', b'"expired_token"']), VALUES
    ),
    VALUES,
)
TOKEN = _document(
    {"access_token": b'"e30.eyJzdWIiOiJraW0ifQ.c2lnbmF0dXJl"', "expires_in": b"3600", "token_type": b'"Bearer"'}
)

# --- heads ---

STATUSES = [200] * 12 + [
    201,
    203,
    204,
    206,
    300,
    301,
    302,
    304,
    305,
    306,
    307,
    400,
    401,
    403,
    404,
    407,
    408,
    410,
    416,
    425,
    429,
]
STATUSES += [451, 500, 502, 503, 504, 507, 599, 600, 700, 999]
LINES = st.one_of(
    st.builds(
        lambda status, reason: b"HTTP/1.1 %d %s\r\n" % (status, reason),
        st.sampled_from(STATUSES),
        st.sampled_from([b"OK", b"", b"\xff\xfe", b"No " * 2000, b"&#" + b"9" * 5000 + b";", b"a\tb", b"%0d%0aX: y"]),
    ),
    st.sampled_from([
        *(b"HTTP/1.0 200 OK\r\n", b"HTTP/9.9 200 OK\r\n", b"HTTP/1.1 099 x\r\n", b"HTTP/1.1 " + b"9" * 5000 + b"\r\n"),
        *(b"HTTP/1.1 200\r\n", b"ICY 200 OK\r\n", b"garbage\r\n", b"\x16\x03\x01", b"", b"HTTP/1.1 -1 x\r\n"),
        *(b"HTTP/1.1 100 Continue\r\n\r\n" * 30 + b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 101 Switching Protocols\r\n"),
        b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 404 x\r\n",
    ]),
)  # fmt: skip
HEADER_NAMES = b"""
    Retry-After Location ETag Date Last-Modified Cache-Control Age Expires Content-Range Accept-Ranges Link Vary
    Connection Content-Disposition Content-Location WWW-Authenticate Set-Cookie Content-Type X-Repo Server X-\xff
""".split()
HEADER_VALUES = [
    *(b"", b"0", b"-1", b"9" * 5000, b"1e400", b"NaN", b"\xff", b"a\tb", b"Thu, 01 Jan 1970 00:00:00 GMT", b"x" * 9000),
    *(
        b"Thu, 99 Foo 99999999999 99:99:99 GMT",
        b"max-age=" + b"9" * 5000,
        b"bytes 0-0/" + b"9" * 5000,
        b"close",
        b'W/"x"',
    ),
    *(
        b"http://[",
        b"//[::1",
        b"/",
        b"?",
        b"#",
        b"http://127.0.0.1:99999/",
        b"http://a:b:c/",
        b"../../x",
        b"\\\\evil\\x",
    ),
    *(
        b"text/html",
        b'text/html; charset="',
        b"text/html; charset*0*" + b"9" * 5000 + b"=x",
        b"application/json;;;=;",
        b"/",
    ),
    *(b"text/html; charset=" + b"x" * 3000, b"timeout=" + b"9" * 5000, b"<http://[>; rel=next", b"=?utf-8?q?=80?="),
]
HEADERS = st.lists(st.tuples(st.sampled_from(HEADER_NAMES), st.sampled_from(HEADER_VALUES)), max_size=4)
CODINGS = [
    *([(b"", bytes)] * 8),
    *((b"gzip", gzip.compress), (b"gzip", bytes), (b"gzip", lambda body: gzip.compress(body)[:-9])),
    *((b"deflate", zlib.compress), (b"deflate", bytes), (b"gzip, " * 50 + b"gzip", gzip.compress), (b"br", bytes)),
    *((b"gzip, deflate", lambda body: zlib.compress(gzip.compress(body))), (b"\xff", bytes), (b"identity", bytes)),
    (b"gzip", lambda body: gzip.compress(body) + gzip.compress(b"") * 300),
]
LENGTHS = [b"right"] * 8 + [
    b"none",
    b"chunked",
    b"0",
    b"1",
    b"-1",
    b"9" * 5000,
    b"99999999",
    b"+5",
    b"5, 6",
    b"chunked badly",
]


def _response(line: bytes, headers: list, content_type: bytes, coding: tuple, length: bytes, body: bytes) -> bytes:
    name, encode = coding
    body = encode(body)
    fields = [(b"Content-Type", content_type), *headers]
    fields += [(b"Content-Encoding", name)] if name else []
    if length.startswith(b"chunked"):
        fields.append((b"Transfer-Encoding", b"chunked"))
        size = b"%x" % len(body) if length == b"chunked" else b"f" * 40
        body = size + b"\r\n" + body + b"\r\n0\r\n\r\n" if body else b"0\r\n\r\n"
    elif length != b"none":
        fields.append((b"Content-Length", b"%d" % len(body) if length == b"right" else length))
    return line + b"".join(name + b": " + value + b"\r\n" for name, value in fields) + b"\r\n" + body


def responses(body: st.SearchStrategy[bytes], content_type: bytes) -> st.SearchStrategy[bytes]:
    """Responses whose body is one of these; about half of them have a head that is fair."""
    fair = st.builds(
        _response,
        st.sampled_from(
            [b"HTTP/1.1 200 OK\r\n"] * 4 + [b"HTTP/1.1 400 Bad Request\r\n", b"HTTP/1.1 404 Not Found\r\n"]
        ),
        st.just([]),
        st.just(content_type),
        st.just((b"", bytes)),
        st.just(b"right"),
        body,
    )
    types = st.sampled_from([content_type] * 6 + HEADER_VALUES)
    return st.one_of(
        fair, st.builds(_response, LINES, HEADERS, types, st.sampled_from(CODINGS), st.sampled_from(LENGTHS), body)
    )


PAGES = st.one_of(responses(HTML, b"text/html"), responses(INDEX, b"application/vnd.pypi.simple.v1+json"))
ERRORS = st.one_of(
    responses(ERROR, content_type) for content_type in (b"text/plain", b"text/html", b"application/json")
)
FILES = responses(st.sampled_from([b"PK\x03\x04" + b"x" * 100, b"", b"x" * 70_000, *RAW]), b"application/octet-stream")
JSON_TYPE = b"application/json"
SIGN_INS = st.fixed_dictionaries({
    "/__api__/status": responses(STATUS, JSON_TYPE),
    "/__api__/device": responses(GRANT, JSON_TYPE),
    "/__api__/device_access": st.one_of(responses(IDENTITY, JSON_TYPE), responses(REFUSED, JSON_TYPE)),
    "/__api__/token": st.one_of(responses(TOKEN, JSON_TYPE), responses(REFUSED, JSON_TYPE)),
})  # fmt: skip
GITHUB = responses(_document({"value": b'"e30.eyJhdWQiOiJwcG0ifQ.c2lnbmF0dXJl"', "count": b"7"}), JSON_TYPE)
