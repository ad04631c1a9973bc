"""Hostile requests as bytes, and a strict parser of the responses to them.

They are built from parts that some proxy or server has mishandled: dot segments in every encoding, other forms of a
target, two lengths, headers that later hops trust.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hypothesis import strategies as st

FORBIDDEN_MARK = "never-crosses"  # in the value of every header that must not be forwarded
MARK = FORBIDDEN_MARK.encode()


@dataclass(frozen=True)
class HostileRequest:
    """One request, and whether all parsers that accept it agree on where it ends."""

    sent: bytes
    is_complete: bool
    is_head: bool


# --- pieces ---


def _headers(text: bytes) -> list[tuple[bytes, bytes]]:
    """One header a line, the name up to the last colon that a blank follows."""
    parts = (line.strip().rpartition(b": ") for line in text.strip().splitlines())
    return [(name, value) for name, _, value in parts]


FAIR_SEGMENTS = b"""
    pypi latest simple hello packages cran src contrib PACKAGES admin tokens status repos a+b a%2Bb ~ %7E %20 a;b=c :80
    @evil.test evil.test - files http: hello-1.0-py3-none-any.whl ${x} <x> ... %c3%a9 rspm upload live proof
""".split()
FOUL_SEGMENTS = rb"""
    __api__ __API__ __api__;x %5f%5fapi__ __api__. . .. %2e %2e%2e %2E. .%2e %252e%252e %25252e%25252e ..; ..;a=b %2f
    %2F %252f %5c %5C \ ..\ ..%5c %c0%ae%c0%ae %e0%80%ae %uff0e %u002e %00 %0a %0d%0aX-Injected:%20yes %7f % %2 %zz %ff
    # a#b
""".split()
FOUL_SEGMENTS += [b"", b"\x00", b"\x01", b"\x7f", b"\t", b"\xff\xfe", b"\xc3\xa9", b"a" * 300]
SEGMENTS = FAIR_SEGMENTS * 8 + FOUL_SEGMENTS
STARTS = [b"/"] * 12 + b"// /// /-/ /-/files/default/ /pypi/latest/simple/ /__api__/ /upload/pypi/".split()
ODD_STARTS = [*b"* http://evil.test/ https://127.0.0.1/ HTTP://localhost //evil.test/ evil.test:443 ? \\".split(), b""]
JOINTS = [b"/"] * 40 + [b"//", b"\\", b"/./", b"%2f", b"/;/"]
QUERIES = [b""] * 20 + b"? ?a=b ?a=../.. ?a=%2e%2e%2f ?a#b ?? ?X-Amz=%2B+".split() + [b"?\xff", b"?a\x00", b"?a b"]
METHODS = [b"GET"] * 12 + b"HEAD HEAD POST POST PUT DELETE PATCH OPTIONS TRACE PROPFIND".split()
ODD_METHODS = [*b"CONNECT get BREW PRI".split(), b"GE\x00T", b"", b"G" * 100, b"GET\t"]
VERSIONS = [b"HTTP/1.1"] * 30 + b"HTTP/1.0 HTTP/1.2 HTTP/2.0 http/1.1 HTTP/11".split() + [b"HTTP/1.1 ", b""]
HOSTS = [b"localhost"] * 50 + b"127.0.0.1:7760 [::1] evil.test a@evil.test".split() + [b"", b"localhost, evil.test"]
NEVER_CROSSING = b"""
    Authorization Proxy-Authorization Cookie Forwarded X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Original-URL
    X-Rewrite-URL X-Real-IP Via Referer X-HTTP-Method-Override X-Api-Key Content-Encoding TE Trailer Destination x_y
    X-Accel-Redirect X-Sendfile Location X-Ppmproxy-Secret Proxy-Connection Keep-Alive Upgrade-Insecure-Requests
""".split()
HEADERS = _headers(b"""
    Origin: http://evil.test
    Origin: null
    Sec-Fetch-Site: cross-site
    Sec-Fetch-Mode: no-cors
    Accept: application/vnd.pypi.simple.v1+json
    Accept: */*
    Accept-Encoding: gzip, br;q=1, zstd
    User-Agent: pip/26.3
    User-Agent: uv/0.13.9
    Range: bytes=0-0
    Range: bytes=-1
    Range: bytes=5-1,0-0
    If-Range: "x"
    If-None-Match: *
    If-Modified-Since: never
    Cache-Control: no-cache
    Content-Type: a/b
    Connection: keep-alive
    Connection: close
    Connection: close, authorization, host, accept
""")
HEADERS += [(b"User-Agent", b"x\xff\xfey"), (b"X-Long", b"a" * 4000), (b"Accept", b"a" * 7000), (b"X-Empty", b"")]
HEADERS += [(name, MARK) for name in NEVER_CROSSING]
BREAKING_HEADERS = _headers(b"""
    Content-Length: 5
    Content-Length: -1
    Content-Length: +1
    Content-Length: 0, 0
    Content-Length: 99999999999999999999
    Content-Length: 0x5
    Transfer-Encoding: chunked
    Transfer-Encoding: chunked, identity
    Transfer-Encoding: xchunked
    Transfer-Encoding : chunked
    Upgrade: websocket
    Upgrade: h2c
    Connection: Upgrade
    Connection: Upgrade, HTTP2-Settings
    Expect: 100-continue
    Host: evil.test
    Bad Name: x
    X:Y: x
""")
BREAKING_HEADERS += [(b"Content-Length", b""), (b"Transfer-Encoding", b"\x0bchunked"), (b" folded", b"x"), (b"", b"x")]
BREAKING_HEADERS += [(b"X\x00", b"x"), (b"X-Nul", b"a\x00b"), (b"X-Cr", b"a\rb"), (b"X", b"a" * 9000)]
BREAKING_HEADERS += [(b"X-Lf", b"a\nTransfer-Encoding: chunked")]
BODIES = [b"", b"12345", b"0\r\n\r\n", b"5\r\n12345\r\n0\r\n\r\n", b"5;x=y\r\n12345\r\n0\r\nA: b\r\n\r\n"]
BODIES += [b"-1\r\n\r\n", b"ffffffffffffffffff\r\n"]
NEXT = b"GET /pypi/latest/simple/smuggled/ HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: " + MARK + b"\r\n\r\n"


# --- requests ---

_path = st.builds(
    lambda start, segments, joint, query: start + joint.join(segments) + query,
    st.sampled_from(STARTS),
    st.lists(st.sampled_from(SEGMENTS), max_size=6),
    st.sampled_from(JOINTS),
    st.sampled_from(QUERIES),
)
_odd_target = st.builds(lambda start, rest: start + rest, st.sampled_from(ODD_STARTS), st.binary(max_size=12))
_host = st.builds(lambda host: (b"Host", host), st.sampled_from(HOSTS))
_some_headers = st.lists(st.sampled_from(HEADERS), max_size=5)
_odd_headers = st.lists(st.one_of(st.sampled_from(HEADERS), st.sampled_from(BREAKING_HEADERS)), max_size=5)


def _spelled(head: list[bytes], headers: list[tuple[bytes, bytes]]) -> bytes:
    lines = [b" ".join(head), *(name + b": " + value for name, value in headers)]
    return b"\r\n".join([*lines, b"", b""])


@st.composite
def _whole(draw: st.DrawFn) -> HostileRequest:
    method = draw(st.sampled_from(METHODS))
    target = re.sub(rb"[ \r\n]", b"", draw(_path))
    headers, body = [draw(_host), *draw(_some_headers)], b""
    if method in {b"POST", b"PUT", b"PATCH"}:
        body = draw(st.binary(max_size=40))
        headers.append((b"Content-Length", b"%d" % len(body)))
    return HostileRequest(
        _spelled([method, target, b"HTTP/1.1"], headers) + body, is_complete=True, is_head=method == b"HEAD"
    )


@st.composite
def _torn(draw: st.DrawFn) -> HostileRequest:
    """Bytes that resemble a request: with two lengths, with none, or with bytes that no grammar allows."""
    method = draw(st.sampled_from(METHODS + ODD_METHODS))
    target = draw(st.one_of(_path, _odd_target))
    headers = [draw(_host), *draw(_odd_headers)]
    sent = _spelled([method, target, draw(st.sampled_from(VERSIONS))], headers) + draw(st.sampled_from(BODIES))
    if draw(st.booleans()):
        at = draw(st.integers(0, len(sent)))
        sent = sent[:at] + draw(st.binary(max_size=4)) + sent[at + draw(st.integers(0, 4)) :]
    is_head = sent.lstrip(b"\r\n").startswith(b"HEAD ")
    return HostileRequest(sent + draw(st.sampled_from([b"", NEXT])), is_complete=False, is_head=is_head)


def batches(size: int) -> st.SearchStrategy[list[HostileRequest]]:
    """Requests to be sent one after the other; one in six is torn."""
    one = st.sampled_from([_whole()] * 5 + [_torn()]).flatmap(lambda strategy: strategy)
    return st.lists(one, min_size=size, max_size=size)


# --- answers ---

LINE = re.compile(rb"HTTP/1\.[01] (\d{3}) [\x20-\x7e]*\r\n")
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([\x20-\x7e\x80-\xff\t]*)\r\n")
CHUNK = re.compile(rb"([0-9a-fA-F]+)\r\n")
ONLY_ONCE = {"content-length", "content-type", "transfer-encoding", "connection", "location"}
BARE = {204, 304}


class MalformedError(AssertionError):
    """A response that is not HTTP."""


@dataclass(frozen=True)
class ParsedResponse:
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes
    length: int  # of the whole answer in bytes
    ends_connection: bool


def parsed_response(received: bytes, *, is_head: bool, has_ended: bool) -> ParsedResponse | None:
    """The first response; None while it is incomplete. Raises `MalformedError`."""
    head, end, _ = received.partition(b"\r\n\r\n")
    if not end:
        return None
    status, headers = _head_of(head + b"\r\n")
    start = len(head) + len(end)
    is_head = is_head and not received.startswith(b"HTTP/1.0")  # it has no method when it is not a request
    length = 0 if is_head or status in BARE else _body_length(received[start:], headers, has_ended=has_ended)
    if length is None:
        return None
    ends = headers.get("connection", "") == "close" or (
        received.startswith(b"HTTP/1.0") and "connection" not in headers
    )
    return ParsedResponse(status, headers, received[start : start + length], start + length, ends)


def _head_of(head: bytes) -> tuple[int, dict[str, str]]:
    line = LINE.match(head)
    if line is None:
        raise MalformedError(f"no status line: {head[:200]!r}")
    at, headers = line.end(), {}
    while at < len(head):
        found = FIELD.match(head, at)
        if found is None:
            raise MalformedError(f"no header: {head[at : at + 200]!r}")
        name = found[1].decode().lower()
        if name in headers and name in ONLY_ONCE:
            raise MalformedError(f"{name} twice: {head!r}")
        headers[name] = found[2].decode("latin-1")
        at = found.end()
    return int(line[1]), headers


def _body_length(body: bytes, headers: dict[str, str], *, has_ended: bool) -> int | None:
    if headers.get("transfer-encoding") == "chunked":
        return _chunked_length(body)
    if "content-length" in headers:
        length = int(headers["content-length"])
        return length if len(body) >= length else None
    return len(body) if has_ended else None


def _chunked_length(body: bytes) -> int | None:
    at = 0
    while found := CHUNK.match(body, at):
        size = int(found[1], 16)
        at = found.end() + size + 2
        if len(body) < at:
            return None
        if body[at - 2 : at] != b"\r\n":
            raise MalformedError("a chunk without its end")
        if size == 0:
            return at
    if b"\r\n" in body[at:]:
        raise MalformedError(f"no chunk: {body[at : at + 20]!r}")
    return None
