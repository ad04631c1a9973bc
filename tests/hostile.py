"""Requests that no honest client sends, as bytes; and a reader that takes no answer but a well-formed one.

To change what is tried against the proxy, open this file. Everything is made of pieces that have meant trouble to some
proxy or server: dot segments in every encoding, other forms of a target, two lengths, names that other hops believe.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hypothesis import strategies as st

FORBIDDEN_MARK = "never-crosses"  # in the value of every header that must stay here

# --- requests ---


@dataclass(frozen=True)
class Hostile:
    """One request, and whether a server must have understood by its end where it ends."""

    sent: bytes
    is_complete: bool
    is_head: bool


SEGMENTS = [
    *(
        b"pypi",
        b"latest",
        b"simple",
        b"hello",
        b"packages",
        b"cran",
        b"src",
        b"contrib",
        b"PACKAGES",
        b"upload",
        b"rspm",
    ),
    *(
        b"__api__",
        b"__API__",
        b"__api__;x",
        b"%5f%5fapi__",
        b"__api__.",
        b"status",
        b"repos",
        b"filter",
        b"admin",
        b"tokens",
    ),
    *(
        b"",
        b".",
        b"..",
        b"...",
        b"%2e",
        b"%2e%2e",
        b"%2E.",
        b".%2e",
        b"%252e%252e",
        b"%25252e%25252e",
        b"..;",
        b"..;a=b",
    ),
    *(
        b"%2f",
        b"%2F",
        b"%252f",
        b"%5c",
        b"%5C",
        b"\\",
        b"..\\",
        b"..%5c",
        b"%c0%ae%c0%ae",
        b"%e0%80%ae",
        b"%uff0e",
        b"%u002e",
    ),
    *(
        b"%00",
        b"%0a",
        b"%0d%0aX-Injected:%20yes",
        b"%7f",
        b"%20",
        b"%",
        b"%2",
        b"%zz",
        b"%ff",
        b"a+b",
        b"a%2Bb",
        b"~",
        b"%7E",
    ),
    *(
        b"\xc3\xa9",
        b"\xff\xfe",
        b"\x00",
        b"\x01",
        b"\x7f",
        b"\t",
        b"#",
        b"a#b",
        b";",
        b"a;b=c",
        b"@evil.test",
        b":80",
        b"-",
    ),
    *(
        b"live",
        b"status",
        b"proof",
        b"files",
        b"evil.test",
        b"http:",
        b"hello-1.0-py3-none-any.whl",
        b"a" * 300,
        b"${x}",
        b"<x>",
    ),
]
STARTS = [
    *[b"/"] * 12,
    b"//",
    b"///",
    b"/-/",
    b"/-/files/default/",
    b"/pypi/latest/simple/",
    b"/__api__/",
    b"/upload/pypi/",
]
ODD_STARTS = [
    b"",
    b"*",
    b"http://evil.test/",
    b"https://127.0.0.1/",
    b"HTTP://localhost",
    b"//evil.test/",
    b"evil.test:443",
    b"?",
    b"\\",
]
QUERIES = [
    b"",
    b"",
    b"",
    b"?",
    b"?a=b",
    b"?a=../..",
    b"?a=%2e%2e%2f",
    b"?\xff",
    b"?a\x00",
    b"?a#b",
    b"??",
    b"?a b",
    b"?X-Amz=%2B+",
]
METHODS = [
    *[b"GET"] * 12,
    b"HEAD",
    b"HEAD",
    b"POST",
    b"POST",
    b"PUT",
    b"DELETE",
    b"PATCH",
    b"OPTIONS",
    b"TRACE",
    b"PROPFIND",
]
ODD_METHODS = [b"CONNECT", b"get", b"BREW", b"GE\x00T", b"PRI", b"", b"G" * 100, b"GET\t"]
VERSIONS = [*[b"HTTP/1.1"] * 30, b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"HTTP/1.1 ", b"HTTP/11", b""]
HOSTS = [
    *[b"localhost"] * 20,
    b"127.0.0.1:7760",
    b"[::1]",
    b"evil.test",
    b"localhost@evil.test",
    b"",
    b"localhost, evil.test",
]

MARK = FORBIDDEN_MARK.encode()
HEADERS = [
    *((name, MARK) for name in (b"Authorization", b"Proxy-Authorization", b"Cookie", b"X-Forwarded-For", b"Forwarded")),
    *((name, MARK) for name in (b"X-Forwarded-Host", b"X-Original-URL", b"X-Rewrite-URL", b"X-Real-IP", b"Via", b"Referer")),
    *((name, MARK) for name in (b"X-HTTP-Method-Override", b"X-Api-Key", b"Content-Encoding", b"Expect", b"TE", b"Trailer")),
    *((name, b"../../../" + MARK) for name in (b"Destination", b"X-Accel-Redirect", b"X-Sendfile", b"Location")),
    (b"Origin", b"http://evil.test"), (b"Origin", b"null"), (b"Sec-Fetch-Site", b"cross-site"), (b"Sec-Fetch-Mode", b"no-cors"),
    (b"Accept", b"application/vnd.pypi.simple.v1+json"), (b"Accept", b"*/*"), (b"Accept-Encoding", b"gzip, br;q=1, zstd"),
    (b"User-Agent", b"pip/26.3"), (b"User-Agent", b"uv/0.13.9"), (b"User-Agent", b"x\xff\xfey"), (b"User-Agent", b""),
    (b"Range", b"bytes=0-0"), (b"Range", b"bytes=-1"), (b"Range", b"bytes=5-1,0-0"), (b"If-Range", b'"x"'),
    (b"If-None-Match", b"*"), (b"If-Modified-Since", b"never"), (b"Cache-Control", b"no-cache"), (b"Content-Type", b"a/b"),
    (b"Connection", b"keep-alive"), (b"Connection", b"close"), (b"Connection", b"close, authorization, host, accept"),
    (b"X-Empty", b""), (b"X-Long", b"a" * 4000), (b"Accept", b"a" * 7000), (b"x_y", b"1"), (b"Content-Length-X", b"1"),
]  # fmt: skip
BREAKING_HEADERS = [
    (b"Content-Length", b"5"), (b"Content-Length", b"-1"), (b"Content-Length", b"+1"), (b"Content-Length", b"0, 0"),
    (b"Content-Length", b"99999999999999999999"), (b"Content-Length", b"0x5"), (b"Content-Length", b""),
    (b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"chunked, identity"), (b"Transfer-Encoding", b"xchunked"),
    (b"Transfer-Encoding", b" chunked"), (b"Transfer-Encoding", b"\x0bchunked"), (b"Transfer-Encoding ", b"chunked"),
    (b"Upgrade", b"websocket"), (b"Upgrade", b"h2c"), (b"Connection", b"Upgrade"), (b"Expect", b"100-continue"),
    (b" folded", b"x"), (b"Bad Name", b"x"), (b"X:Y", b"x"), (b"X\x00", b"x"), (b"X-Nul", b"a\x00b"), (b"X-Cr", b"a\rb"),
    (b"X-Lf", b"a\nTransfer-Encoding: chunked"), (b"", b"x"), (b"X-Long", b"a" * 9000), (b"Host", b"evil.test"),
    (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="), (b"HTTP2-Settings", b"AAMAAABkAAQ"),
]  # fmt: skip
BODIES = [
    b"",
    b"12345",
    b"0\r\n\r\n",
    b"5\r\n12345\r\n0\r\n\r\n",
    b"5;x=y\r\n12345\r\n0\r\nA: b\r\n\r\n",
    b"-1\r\n\r\n",
    b"ffffffffffffffffff\r\n",
]
NEXT = b"GET /pypi/latest/simple/smuggled/ HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: " + MARK + b"\r\n\r\n"

_path = st.builds(
    lambda start, segments, joint, query: start + joint.join(segments) + query,
    st.sampled_from(STARTS),
    st.lists(st.one_of(st.sampled_from(SEGMENTS), st.sampled_from(SEGMENTS), st.binary(max_size=4)), max_size=6),
    st.sampled_from([*[b"/"] * 8, b"//", b"\\", b"/./", b"%2f", b"/;/"]),
    st.sampled_from(QUERIES),
)
_odd_target = st.builds(lambda start, rest: start + rest, st.sampled_from(ODD_STARTS), st.binary(max_size=12))


def _spelled(head: list[bytes], headers: list[tuple[bytes, bytes]]) -> bytes:
    lines = [b" ".join(head), *(name + b": " + value for name, value in headers)]
    return b"\r\n".join([*lines, b"", b""])


@st.composite
def _whole(draw: st.DrawFn) -> Hostile:
    """A request whose end every parser sees in the same place, if it takes it for one at all."""
    method = draw(st.sampled_from(METHODS))
    target = draw(_path).replace(b" ", b"%20").replace(b"\r", b"").replace(b"\n", b"")
    headers = [(b"Host", draw(st.sampled_from(HOSTS))), *draw(st.lists(st.sampled_from(HEADERS), max_size=5))]
    body = b""
    if method in {b"POST", b"PUT", b"PATCH"}:
        body = draw(st.binary(max_size=40))
        headers.append((b"Content-Length", str(len(body)).encode()))
    return Hostile(_spelled([method, target, b"HTTP/1.1"], headers) + body, is_complete=True, is_head=method == b"HEAD")


@st.composite
def _torn(draw: st.DrawFn) -> Hostile:
    """Bytes that resemble a request: with two ends, none, or what no grammar has."""
    method = draw(st.sampled_from(METHODS + ODD_METHODS))
    target = draw(st.one_of(_path, _odd_target))
    version = draw(st.sampled_from(VERSIONS))
    some = st.one_of(st.sampled_from(HEADERS), st.sampled_from(BREAKING_HEADERS))
    headers = [(b"Host", draw(st.sampled_from(HOSTS))), *draw(st.lists(some, max_size=5))]
    sent = _spelled([method, target, version], headers) + draw(st.sampled_from(BODIES))
    if draw(st.booleans()):
        at = draw(st.integers(0, len(sent)))
        cut = draw(st.integers(0, 4))
        sent = sent[:at] + draw(st.binary(max_size=4)) + sent[at + cut :]
    return Hostile(sent + draw(st.sampled_from([b"", NEXT])), is_complete=False, is_head=False)


def batches(size: int) -> st.SearchStrategy[list[Hostile]]:
    """Requests to be sent one after the other; one in six is torn."""
    return st.lists(st.one_of(*[_whole()] * 5, _torn()), min_size=size, max_size=size)


# --- answers ---

LINE = re.compile(rb"HTTP/1\.[01] (\d{3}) [\x20-\x7e]*\r\n")
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([\x20-\x7e\x80-\xff\t]*)\r\n")
CHUNK = re.compile(rb"([0-9a-fA-F]+)\r\n")


class MalformedError(AssertionError):
    """An answer that HTTP does not know."""


@dataclass(frozen=True)
class Answered:
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes
    length: int  # of the whole answer in bytes

    @property
    def ends_connection(self) -> bool:
        return self.headers.get("connection", "").lower() == "close" or self.length == 0


def answer_in(received: bytes, *, is_head: bool, has_ended: bool) -> Answered | None:
    """The first answer; None when it has not come as a whole yet. `MalformedError`."""
    head, end, _ = received.partition(b"\r\n\r\n")
    if not end:
        if has_ended and received:
            raise MalformedError(f"ends in its head: {received!r}")
        return None
    status, headers = _head_of(head + b"\r\n")
    start = len(head) + len(end)
    length = _body_length(
        received, start, headers, bare=is_head or status in {204, 304} or status < 200, ended=has_ended
    )
    if length is None:
        return None
    version_ends = received.startswith(b"HTTP/1.0") and headers.get("connection", "") != "keep-alive"
    if version_ends:
        headers = {**headers, "connection": "close"}
    return Answered(status, headers, received[start : start + length], start + length)


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
        if name in headers and name in {"content-length", "content-type", "transfer-encoding"}:
            raise MalformedError(f"{name} twice: {head!r}")
        headers[name] = found[2].decode("latin-1")
        at = found.end()
    return int(line[1]), headers


def _body_length(received: bytes, start: int, headers: dict[str, str], *, bare: bool, ended: bool) -> int | None:
    if bare:
        return 0
    if headers.get("transfer-encoding") == "chunked":
        return _chunked_length(received, start)
    if "content-length" in headers:
        length = int(headers["content-length"])
        return length if len(received) - start >= length else None
    if not ended:
        return None
    return len(received) - start


def _chunked_length(received: bytes, start: int) -> int | None:
    at = start
    while found := CHUNK.match(received, at):
        size = int(found[1], 16)
        at = found.end() + size + 2
        if len(received) < at:
            return None
        if received[at - 2 : at] != b"\r\n":
            raise MalformedError("a chunk without its end")
        if size == 0:
            return at - start
    if b"\r\n" in received[at:]:
        raise MalformedError(f"no chunk: {received[at : at + 20]!r}")
    return None
