"""Claims about `request_head`: aiohttp's two parsers accept the same heads, because the form is checked before."""

from itertools import pairwise

import aiohttp.web_protocol
import pytest
from aiohttp.http_parser import HttpRequestParserC, HttpRequestParserPy
from hypothesis import given
from hypothesis import strategies as st
from proxy_client import status_of

from ppmproxy.server.request_head import MALFORMED, HeadScanner

HEAD = b"GET /-/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
REFUSED = {
    "another protocol": b"GET /-/live RTSP/1.0",
    "another protocol, like ours": b"GET /-/live ICE/1.1",
    "two blanks before the target": b"GET  /-/live HTTP/1.1",
    "two blanks before the version": b"GET /-/live  HTTP/1.1",
    "a tab for a blank": b"GET\t/-/live HTTP/1.1",
    "a tab in the target": b"GET /-/li\tve HTTP/1.1",
    "a blank in the target": b"GET /-/live x HTTP/1.1",
    "a blank at the end": b"GET /-/live HTTP/1.1 ",
    "a blank at the beginning": b" GET /-/live HTTP/1.1",
    "no target": b"GET HTTP/1.1",
    "no version": b"GET /-/live",
    "a version without a point": b"GET /-/live HTTP/11",
    "a version of three numbers": b"GET /-/live HTTP/1.1.1",
    "a version of two digits": b"GET /-/live HTTP/1.10",
    "a version that there is not": b"GET /-/live HTTP/1.2",
    "a version of long ago": b"GET /-/live HTTP/0.8",
    "a version to come": b"GET /-/live HTTP/3.0",
    "chunked twice": b"GET /-/live HTTP/1.1\r\nTransfer-Encoding: chunked, chunked",
    "chunked in two headers": b"GET /-/live HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "another coding, then chunked": b"GET /-/live HTTP/1.1\r\nTransfer-Encoding: gzip, chunked",
    "another coding": b"GET /-/live HTTP/1.1\r\nTransfer-Encoding: identity",
    "no coding": b"GET /-/live HTTP/1.1\r\nTransfer-Encoding:",
    "chunked, and a length": b"GET /-/live HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
    "two lengths": b"GET /-/live HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0",
    "two lengths in one": b"GET /-/live HTTP/1.1\r\nContent-Length: 0, 0",
    "a length with a sign": b"GET /-/live HTTP/1.1\r\nContent-Length: +0",
    "a length in hexadecimal": b"GET /-/live HTTP/1.1\r\nContent-Length: 0x0",
    "a length beyond any": b"GET /-/live HTTP/1.1\r\nContent-Length: 9999999999999999999",
    "a version in lower case": b"GET /-/live http/1.1",
    "a method in lower case": b"get /-/live HTTP/1.1",
    "a method with a colon": b"GET: /-/live HTTP/1.1",
    "a control byte in the target": b"GET /-/li\x01ve HTTP/1.1",
    "a carriage return in the target": b"GET /-/li\rve HTTP/1.1",
    "a line feed in the target": b"GET /-/li\nve HTTP/1.1",
    "a line feed alone at the end": b"GET /-/live HTTP/1.1\nX: y",
    "a blank before the colon": b"GET /-/live HTTP/1.1\r\nX : y",
    "a header without a colon": b"GET /-/live HTTP/1.1\r\nX",
    "a header without a name": b"GET /-/live HTTP/1.1\r\n: y",
    "a folded header": b"GET /-/live HTTP/1.1\r\nX: y\r\n z",
    "a blank before the first header": b"GET /-/live HTTP/1.1\r\n X: y",
    "a zero byte in a header": b"GET /-/live HTTP/1.1\r\nX: a\0b",
    "a control byte in a header": b"GET /-/live HTTP/1.1\r\nX: a\x01b",
    "a carriage return in a header": b"GET /-/live HTTP/1.1\r\nX: a\rb",
    "a line feed in a header": b"GET /-/live HTTP/1.1\r\nX: a\nb",
    "a header's name in quotes": b'GET /-/live HTTP/1.1\r\n"X": y',
    "a header's name beyond ASCII": b"GET /-/live HTTP/1.1\r\n\xc3\xa9: y",
}
PARSERS = [HttpRequestParserC, HttpRequestParserPy]


@pytest.fixture(params=PARSERS, ids=["C", "Python"])
async def running(request, monkeypatch, proxy):
    monkeypatch.setattr(aiohttp.web_protocol, "HttpRequestParser", request.param)
    return await proxy(environ={})


@pytest.mark.parametrize("line", REFUSED.values(), ids=REFUSED)
async def test_a_malformed_head_is_refused_with_400_by_either_parser(running, line):
    received = await running.raw(HEAD.replace(b"GET /-/live HTTP/1.1", line))

    assert status_of(received) == 400
    assert b"bad-target" in received


@pytest.mark.parametrize("line", REFUSED.values(), ids=REFUSED)
def test_a_malformed_head_reaches_no_parser(line):
    assert HeadScanner().checked(HEAD.replace(b"GET /-/live HTTP/1.1", line)) == MALFORMED


async def test_a_well_formed_head_is_answered_by_either_parser(running):
    received = await running.raw(b"\r\n" + HEAD.replace(b"\r\n\r\n", b"\r\nX:\r\nY: \t a:\xe9\t\r\n\r\n"))

    assert status_of(received) == 200


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: Chunked\r\n", b"Content-Length: \t5 \r\n"])
async def test_a_body_that_is_announced_once_is_read_by_either_parser(running, framing):
    body = b"0\r\n\r\n"

    received = await running.raw(HEAD.replace(b"\r\n\r\n", b"\r\n" + framing + b"\r\n") + body)

    assert status_of(received) == 200


async def test_a_pipelined_head_is_checked_too(running):
    first = HEAD.replace(b"Connection: close\r\n", b"")

    received = await running.raw(first + HEAD.replace(b"GET ", b"GET  "))

    assert b" 400 " in received


BODIES = [b"", b"GET  / RTSP/1.0\r\n\r\n"]


@given(
    bodies=st.lists(st.sampled_from(BODIES), min_size=1, max_size=4),
    cuts=st.lists(st.integers(min_value=1, max_value=200), max_size=8),
)
def test_well_formed_requests_pass_unchanged_in_any_pieces(bodies, cuts):
    sent = b"".join(b"POST /x HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body) for body in bodies)
    edges = sorted({0, *(cut for cut in cuts if cut < len(sent)), len(sent)})
    scanner = HeadScanner()

    passed = [scanner.checked(sent[start:end]) for start, end in pairwise(edges)]

    assert b"".join(passed) == sent
    assert not scanner.has_lost_track


@given(cut=st.integers(min_value=1, max_value=len(HEAD)))
def test_a_malformed_head_is_stopped_in_any_two_pieces(cut):
    sent = HEAD.replace(b"GET ", b"GET  ")
    scanner = HeadScanner()

    passed = scanner.checked(sent[:cut]) + scanner.checked(sent[cut:])

    assert passed.endswith(MALFORMED)


def test_after_a_chunked_body_the_connection_is_to_be_closed():
    scanner = HeadScanner()

    scanner.checked(b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")

    assert scanner.has_lost_track
